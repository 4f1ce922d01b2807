"""Guards the stand-in's strictness: each rule of docs/conformance.md is broken here on purpose, over a real socket."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rehearsal.model import RULES, CallTool, Faults, ModelServer, ObedientScript, Say, Tuning
from rehearsal.model.mulaw import hum
from rehearsal.websocket import Refused, connect
from tests.rehearsal.model_client import FAST, KEY, SETTINGS, Client, Event, detection, talking

CONFORMANCE = Path(__file__).parents[2] / "docs" / "conformance.md"
Break = Callable[[Client], Awaitable[None] | None]
SCRIPT = (Say("שלום", audio=bytes(1600)), CallTool("end_call", {}, "call_1"))


def update(**session: object) -> Break:
    """A session.update of only these fields."""
    return lambda client: client.send("session.update", session={"type": "realtime", **session})


def update_input(**fields: object) -> Break:
    return update(audio={"input": {"format": {"type": "audio/pcmu"}, **fields}})


def create_item(item: Event, **fields: object) -> Break:
    return lambda client: client.send("conversation.item.create", item=item, **fields)


def create(**response: object) -> Break:
    return lambda client: client.send("response.create", response=response)


def send(event_type: str, **fields: object) -> Break:
    return lambda client: client.send(event_type, **fields)


def user(text: str = "כן", **fields: object) -> Event:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}], **fields}


def truncate(**changes: object) -> Break:
    """Truncate what the model has said, with one thing wrong."""

    async def spoken(client: Client) -> None:
        item_id = (await client.reply())["output"][0]["id"]
        fields = {"item_id": item_id, "content_index": 0, "audio_end_ms": 200, **changes}
        client.send("conversation.item.truncate", **fields)

    return spoken


async def change_voice(client: Client) -> None:
    await client.reply()
    client.send(
        "session.update",
        session={"type": "realtime", "audio": {"output": {"format": {"type": "audio/pcmu"}, "voice": "cedar"}}},
    )


async def reuse_id(client: Client) -> None:
    for _ in range(2):
        client.send("conversation.item.create", item=user(id="item_mine"))
    await client.until("conversation.item.done")


async def output_twice(client: Client) -> None:
    await client.reply()
    await client.reply()
    for _ in range(2):
        client.send(
            "conversation.item.create", item={"type": "function_call_output", "call_id": "call_1", "output": "{}"}
        )
    await client.until("conversation.item.done")


async def truncate_a_user(client: Client) -> None:
    client.send("conversation.item.create", item=user(id="item_user"))
    client.send("conversation.item.truncate", item_id="item_user", content_index=0, audio_end_ms=0)


async def create_twice(client: Client) -> None:
    client.send("response.create")
    client.send("response.create")


async def cancel_another(client: Client) -> None:
    client.send("response.create")
    client.send("response.cancel", response_id="resp_unheard_of")


def commit_little(client: Client) -> None:
    client.append(b"\xff" * 160)
    client.send("input_audio_buffer.commit")


def append_too_much(client: Client) -> None:
    client.append(b"\xff" * (15 * 1024 * 1024 + 3), frame_bytes=16 * 1024 * 1024)


BREAKS: dict[str, list[Break]] = {
    "binary-frame": [lambda client: _ignore(client.peer.send_binary(b'{"type":"response.create"}'))],
    "malformed-json": [
        lambda client: _ignore(client.peer.send_text('{"type":"response.create"')),
        lambda client: _ignore(client.peer.send_text("[]")),
    ],
    "unknown-type": [send("response.telepathy"), lambda client: _ignore(client.peer.send_text("{}"))],
    "unknown-key": [
        send("response.create", tools=[]),
        update(temperature=0.8),
        update(modalities=["audio"]),
        update(input_audio_format="g711_ulaw"),
        update_input(turn_detection={"type": "server_vad", "treshold": 0.6}),
        create_item({**user(), "content": [{"type": "input_text", "text": "כן", "lang": "he"}]}),
        update(tools=[{"type": "function", "name": "f", "strict": True}]),
    ],
    "missing-parameter": [
        send("conversation.item.truncate", item_id="x", content_index=0),
        send("conversation.item.create"),
        create_item({"type": "function_call_output", "call_id": "call_1"}),
        send("input_audio_buffer.append"),
    ],
    "invalid-value": [
        send("conversation.item.truncate", item_id="x", content_index=0, audio_end_ms=1.5),
        send("response.cancel", response_id=7),
        create(tool_choice="sometimes"),
        create_item({"type": "message", "role": "narrator", "content": []}),
        create_item({**user(), "content": [{"type": "output_text", "text": "כן"}]}),
        update(audio={"input": {"format": {"type": "audio/opus"}}}),
    ],
    "webrtc-only": [send("output_audio_buffer.clear")],
    "session-missing": [send("session.update"), send("session.update", session=None)],
    "session-type": [send("session.update", session={"instructions": "x"})],
    "rate-on-pcmu": [
        update(audio={"input": {"format": {"type": "audio/pcmu", "rate": 8000}}}),
        update(audio={"output": {"format": {"type": "audio/pcma", "rate": 8000}}}),
    ],
    "model-change": [update(model="gpt-realtime-mini")],
    "max-output-tokens": [update(max_output_tokens=0), update(max_output_tokens=4097), create(max_output_tokens=5000)],
    "voice-change": [change_voice],
    "two-modalities": [update(output_modalities=["text", "audio"]), create(output_modalities=["audio", "text"])],
    "prompt-too-long": [update(instructions="שלום " * 6000), update(instructions="hello " * 12_000)],
    "vad-range": [
        update_input(turn_detection={"type": "server_vad", "threshold": 1.2}),
        update_input(turn_detection={"type": "server_vad", "silence_duration_ms": -1}),
        update_input(turn_detection={"type": "server_vad", "idle_timeout_ms": 1000}),
    ],
    "speed-range": [update(audio={"output": {"format": {"type": "audio/pcmu"}, "speed": 2}})],
    "transcription-option": [
        update_input(transcription={"model": "whisper-1", "languages": ["he"]}),
        update_input(transcription={"model": "gpt-transcribe", "delay": "low"}),
    ],
    "tool-without-name": [update(tools=[{"type": "function", "parameters": {}}])],
    "tool-choice-unknown": [
        create(tool_choice={"type": "function", "name": "transfer"}),
        update(tool_choice={"type": "function", "name": "transfer"}),
        create(tools=[], tool_choice={"type": "function", "name": "end_call"}),
    ],
    "append-base64": [send("input_audio_buffer.append", audio="not base64!")],
    "append-too-big": [append_too_much],
    "commit-empty": [send("input_audio_buffer.commit")],
    "commit-under-100ms": [commit_little],
    "item-id-reused": [reuse_id],
    "item-id-too-long": [create_item(user(id="i" * 33))],
    "previous-item-unknown": [create_item(user(), previous_item_id="item_none")],
    "output-call-unknown": [create_item({"type": "function_call_output", "call_id": "call_none", "output": "{}"})],
    "output-twice": [output_twice],
    "retrieve-unknown": [send("conversation.item.retrieve", item_id="item_none")],
    "delete-unknown": [send("conversation.item.delete", item_id="item_none")],
    "truncate-unknown": [truncate(item_id="item_none")],
    "truncate-not-model-audio": [truncate_a_user],
    "truncate-content-index": [truncate(content_index=1)],
    "truncate-beyond": [truncate(audio_end_ms=201), truncate(audio_end_ms=-1)],
    "create-while-active": [create_twice],
    "metadata-limits": [
        create(metadata={f"k{n}": "v" for n in range(17)}),
        create(metadata={"k" * 65: "v"}),
        create(metadata={"k": "v" * 513}),
    ],
    "reference-unknown": [create(input=[{"type": "item_reference", "id": "item_none"}])],
    "cancel-not-active": [send("response.cancel"), send("response.cancel", response_id="resp_none")],
    "cancel-other": [cancel_another],
}
# Rules that are no answer to one event of a configured session have a test of their own below.
ELSEWHERE = {"key-missing", "model-missing", "beta-header", "audio-before-pcmu", "reasoning-unsupported"}
CASES = [
    pytest.param(rule, attempt, id=f"{rule}-{n}") for rule, all_ in BREAKS.items() for n, attempt in enumerate(all_)
]


def _ignore(_sent: bool) -> None:
    """A break is what it sends, not whether the socket took it."""


def test_every_rule_is_broken_here_and_told_in_the_document() -> None:
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \|.*\| (?:`(\w+)`|none) \|.*\| (\w+) \|$", CONFORMANCE.read_text(), re.MULTILINE
    )

    assert {rule for rule, _code, _source in rows} == set(RULES) == set(BREAKS) | ELSEWHERE
    assert {rule: (code or None, source) for rule, code, source in rows} == {
        rule.id: (rule.code, rule.source) for rule in RULES.values()
    }


@pytest.mark.parametrize(("rule", "attempt"), CASES)
async def test_breaking_a_rule_is_answered_counted_and_survived(rule: str, attempt: Break) -> None:
    async with talking(ObedientScript(SCRIPT), tuning=Tuning(speed=20)) as client:
        pending = attempt(client)
        if pending is not None:
            await pending
        error = (client.of("error") or [await client.until("error")])[0]["error"]

        assert [violation.rule for violation in client.session.violations] == [rule]
        assert (error["type"], error["code"]) == ("invalid_request_error", RULES[rule].code)
        assert error["message"] == client.session.violations[0].message
        assert (await _still_answers(client))["type"] == "session.updated"


async def _still_answers(client: Client) -> Event:
    client.send("session.update", session={"type": "realtime", "tool_choice": "auto"})
    return await client.until("session.updated")


async def test_an_error_names_the_event_and_the_parameter_it_answers() -> None:
    async with talking() as client:
        client.send("session.update", event_id="su_7", session={"type": "realtime", "audio": {"input": {"formta": {}}}})
        error = (await client.until("error"))["error"]

        assert (error["event_id"], error["param"]) == ("su_7", "session.audio.input.formta")


async def test_a_refused_update_changes_nothing_of_what_it_carried() -> None:
    async with talking() as client:
        client.send("session.update", session={"type": "realtime", "instructions": "New.", "max_output_tokens": 0})
        await client.until("error")

        assert client.session.config["instructions"] == "Be brief."


async def test_reasoning_is_refused_by_models_that_do_not_reason() -> None:
    for model, refused in (("gpt-realtime", True), ("gpt-realtime-2025-08-28", True), ("gpt-realtime-2.1", False)):
        async with talking(settings=None, model=model) as client:
            client.send("session.update", session={**SETTINGS, "reasoning": {"effort": "low"}})
            await client.until("error" if refused else "session.updated")

            expected = ["reasoning-unsupported"] if refused else []
            assert [violation.rule for violation in client.session.violations] == expected


@pytest.mark.parametrize(
    "settings", [None, {"type": "realtime", "audio": {"output": {"format": {"type": "audio/pcmu"}}}}]
)
async def test_audio_before_pcmu_is_confirmed_is_counted_though_nobody_complains(settings: Event | None) -> None:
    async with talking(settings=settings) as client:
        client.append(b"\xff" * 160)
        await client.session.wait_for("input_audio_buffer.append")
        await _still_answers(client)

        assert [violation.rule for violation in client.session.violations] == ["audio-before-pcmu"]
        assert "error" not in client.types


@pytest.mark.parametrize(
    ("rule", "query", "headers", "status"),
    [
        ("key-missing", "?model=m", {}, 401),
        ("key-missing", "?model=m", {"Authorization": "Bearer sk-wrong"}, 401),
        ("model-missing", "", KEY, 400),
        ("beta-header", "?model=m", {**KEY, "OpenAI-Beta": "realtime=v1"}, 400),
    ],
)
async def test_an_upgrade_is_held_to_its_rules(rule: str, query: str, headers: dict[str, str], status: int) -> None:
    async with ModelServer(api_key="sk-test") as server:
        with pytest.raises(Refused) as refused:
            await connect(server.url + query, headers=headers)

        assert refused.value.status == status
        assert str(RULES[rule].code) in refused.value.body
        assert [violation.rule for violation in server.violations] == [rule]
        assert not server.sessions


async def test_a_cancel_that_crosses_the_end_of_its_response_is_a_crossing() -> None:
    async with talking() as client:
        done = await client.reply()
        client.send("response.cancel", response_id=done["id"])
        error = (await client.until("error"))["error"]

        assert error["code"] == "response_cancel_not_active"
        assert [crossing.rule for crossing in client.session.crossings] == ["cancel-not-active"]
        assert not client.session.violations


async def test_a_cancel_more_than_a_second_late_is_none() -> None:
    async with talking() as client:
        done = await client.reply()
        await asyncio.sleep(1.05)  # the rule is about elapsed time
        client.send("response.cancel", response_id=done["id"])
        await client.until("error")

        assert [violation.rule for violation in client.session.violations] == ["cancel-not-active"]


async def test_a_create_that_crosses_an_answer_begun_by_voice_is_a_crossing() -> None:
    async with talking(
        settings=detection(create_response=True), tuning=FAST, faults=Faults(created_after_s=0.2)
    ) as client:
        client.append(hum("אבגדה") + b"\xff" * 8000)
        await client.until("input_audio_buffer.committed")
        client.send("response.create")
        await client.until("error")

        assert [crossing.rule for crossing in client.session.crossings] == ["create-while-active"]
        assert not client.session.violations


async def test_a_commit_that_crosses_the_vads_own_is_a_crossing() -> None:
    async with talking() as client:
        client.append(hum("אבגדה") + b"\xff" * 3360)  # 400 ms end the turn, 20 ms stay in the buffer
        await client.until("input_audio_buffer.committed")
        client.send("input_audio_buffer.commit")
        await client.until("error")

        assert [crossing.rule for crossing in client.session.crossings] == ["commit-under-100ms"]
        assert not client.session.violations
