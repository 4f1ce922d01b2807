"""Guards the model stand-in's behaviour: the ladder of a response, listening, the conversation it remembers."""

import asyncio
import time

import pytest

from rehearsal.audio import silence
from rehearsal.model import (
    CallTool,
    ModelServer,
    ObedientScript,
    Reply,
    ReplyRequest,
    Say,
    SessionInfo,
    Tuning,
    WriteText,
)
from rehearsal.model.mulaw import hum
from rehearsal.speech import speak
from rehearsal.websocket import connect
from tests.rehearsal.model_client import FAST, KEY, SETTINGS, detection, info_of, talking

SPEECH = speak("שלום, אני רוצה לקבוע תור.", "he")
TURN = silence(500) + SPEECH + silence(700)


def system(text: str) -> dict[str, object]:
    return {"type": "message", "role": "system", "content": [{"type": "input_text", "text": text}]}


async def test_session_created_comes_first_and_an_update_is_confirmed_in_full() -> None:
    async with talking(settings=None) as client:
        created = await client.next()
        updated = await client.configure()

        assert created["type"] == "session.created"
        assert created["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
        assert updated["session"]["audio"]["input"]["format"] == {"type": "audio/pcmu"}
        assert updated["session"]["audio"]["output"] == {
            "format": {"type": "audio/pcmu"},
            "voice": "marin",
            "speed": 1.0,
        }
        assert not client.session.violations


async def test_a_spoken_response_climbs_the_ladder_in_order() -> None:
    async with talking(ObedientScript([Say("שלום לך", audio=b"\x01" * 3200)])) as client:
        done = await client.reply(metadata={"turn": "1"})

        assert client.types[2:] == [
            "response.created",
            "rate_limits.updated",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]
        assert client.audio() == b"\x01" * 3200
        assert client.of("response.output_audio_transcript.done")[0]["transcript"] == "שלום לך"
        assert (done["status"], done["status_details"], done["metadata"]) == ("completed", None, {"turn": "1"})
        assert done["usage"]["output_token_details"]["audio_tokens"] == 8
        assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "שלום לך"}]


async def test_the_default_voice_hums_sixty_ms_a_character() -> None:
    async with talking(ObedientScript(["אבג"])) as client:
        await client.reply()

        assert client.audio() == hum("אבג")
        assert len(client.audio()) == 3 * 60 * 8


async def test_audio_comes_faster_than_real_time_but_not_all_at_once() -> None:
    script = ObedientScript([Reply([Say("א", audio=bytes(16_000))], first_after_s=0)])
    async with talking(script, tuning=Tuning(delta_ms=200, speed=8)) as client:
        start = time.monotonic()
        await client.reply()

        assert 2.0 * 0.9 / 8 <= time.monotonic() - start < 2.0
        assert len(client.of("response.output_audio.delta")) == 10


async def test_several_items_of_every_kind_fit_into_one_response() -> None:
    parts: list[Say | CallTool | WriteText] = [
        Say("רגע"),
        CallTool("end_call", {"why": "שלום"}, "call_a"),
        WriteText("two words"),
    ]
    async with talking(ObedientScript([Reply(parts)])) as client:
        done = await client.reply()

        assert [item["type"] for item in done["output"]] == ["message", "function_call", "message"]
        call = client.of("response.function_call_arguments.done")[0]
        assert (call["name"], call["call_id"], call["arguments"]) == ("end_call", "call_a", '{"why": "שלום"}')
        deltas = client.of("response.function_call_arguments.delta")
        assert "".join(event["delta"] for event in deltas) == call["arguments"]
        assert client.of("response.output_text.done")[0]["text"] == "two words"
        assert [item.type for item in client.session.conversation] == ["message", "function_call", "message"]


async def test_text_only_replies_make_no_sound() -> None:
    async with talking(ObedientScript(["שלום"])) as client:
        done = await client.reply(output_modalities=["text"])

        assert done["output"][0]["content"] == [{"type": "output_text", "text": "שלום"}]
        assert not client.audio()


async def test_tool_choice_none_lets_not_even_a_disobedient_model_call_one() -> None:
    async with talking(ObedientScript([Reply([CallTool("end_call"), Say("שלום")])])) as client:
        done = await client.reply(tool_choice="none")

        assert [item["type"] for item in done["output"]] == ["message"]


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
async def test_a_reply_can_end_incomplete(reason: str) -> None:
    reply = Reply([Say("אני חושב ש")], status="incomplete", reason=reason)  # type: ignore[arg-type]  # from parametrize
    async with talking(ObedientScript([reply])) as client:
        done = await client.reply()

        assert (done["status"], done["status_details"]) == ("incomplete", {"type": "incomplete", "reason": reason})
        assert done["output"][0]["status"] == "incomplete"


async def test_a_reply_can_fail() -> None:
    async with talking(ObedientScript([Reply(status="failed", error=("insufficient_quota", "No money."))])) as client:
        done = await client.reply()

        assert done["status"] == "failed"
        assert done["status_details"]["error"]["code"] == "insufficient_quota"


async def test_a_script_that_raises_fails_its_response_and_not_the_session() -> None:
    class Broken(ObedientScript):
        def reply(self, request: ReplyRequest) -> Reply:
            return Reply([Say("לא", audio=b"")]) if request.metadata else Reply([Say(1 / 0)])  # type: ignore[arg-type]

    async with talking(Broken()) as client:
        assert (await client.reply())["status"] == "failed"
        assert (await client.reply(metadata={"again": "1"}))["status"] == "completed"


async def test_cancel_stops_between_deltas_and_closes_every_rung() -> None:
    script = ObedientScript([Say("משפט ארוך מאוד שלא ייגמר", audio=bytes(80_000)), "עוד"])
    async with talking(script, tuning=Tuning(speed=4)) as client:
        client.send("response.create")
        await client.until("response.output_audio.delta")
        client.send("response.cancel", response_id=client.of("response.created")[0]["response"]["id"])
        done = (await client.until("response.done"))["response"]

        assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        assert client.types[-5:] == [
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]
        assert client.of("response.output_item.done")[0]["item"]["status"] == "incomplete"
        assert 0 < len(client.audio()) < 80_000
        assert (await client.reply())["status"] == "completed"
        assert not client.session.violations


async def test_an_unnamed_cancel_reaches_a_response_not_yet_created() -> None:
    async with talking() as client:
        client.send("response.create")
        client.send("response.cancel")

        assert (await client.until("response.done"))["response"]["status"] == "cancelled"
        assert not client.session.violations


async def test_an_out_of_band_response_runs_beside_and_leaves_no_trace() -> None:
    script = ObedientScript([Say("ראשון", audio=bytes(80_000)), Say("שני", audio=bytes(800))])
    async with talking(script, tuning=Tuning(speed=4)) as client:
        client.send("response.create")
        await client.until("response.output_audio.delta")
        client.send("response.create", response={"conversation": "none", "metadata": {"beside": "1"}})
        done = [(await client.until("response.done"))["response"] for _ in range(2)]
        main, beside = sorted(done, key=lambda response: bool(response["metadata"]))

        assert client.types[: client.types.index("response.done")].count("response.created") == 2
        assert (beside["metadata"], beside["conversation_id"]) == ({"beside": "1"}, None)
        assert main["conversation_id"] == client.session.conversation_id
        assert [item.transcript for item in client.session.conversation] == ["ראשון"]


async def test_a_quoted_phrase_is_spoken_exactly_and_only_while_it_is_news() -> None:
    async with talking(ObedientScript(["תשובה"])) as client:
        client.send("conversation.item.create", item=system("אמור בדיוק: «האם אתה עדיין איתי?»"))
        await client.reply()
        await client.reply()

        said = [event["transcript"] for event in client.of("response.output_audio_transcript.done")]
        assert said == ["האם אתה עדיין איתי?", "תשובה"]


async def test_speech_becomes_a_turn_with_prefix_silence_and_transcript() -> None:
    async with talking(ObedientScript(heard=["שלום"])) as client:
        client.append(TURN)
        started = await client.until("input_audio_buffer.speech_started")
        transcript = await client.until("conversation.item.input_audio_transcription.completed")

        assert 0 <= started["audio_start_ms"] <= 500
        stopped = client.of("input_audio_buffer.speech_stopped")[0]
        assert stopped["audio_end_ms"] >= 500 + 400
        assert transcript["transcript"] == "שלום"
        assert client.types[2:] == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "conversation.item.input_audio_transcription.completed",
        ]
        assert {event["item_id"] for event in client.events[2:5]} == {started["item_id"]}
        assert client.session.item(started["item_id"]).transcript == "שלום"
        assert client.session.audio_in == TURN


async def test_a_click_and_a_silent_line_are_no_speech() -> None:
    async with talking() as client:
        click = silence(1000) + SPEECH[8000:8320] + silence(1000)
        client.append(click)
        client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")

        assert "input_audio_buffer.speech_started" not in client.types


async def test_frames_of_any_size_are_heard_alike() -> None:
    found = []
    for frame_bytes in (160, 37, 4000):
        async with talking() as client:
            client.append(TURN, frame_bytes)
            started = await client.until("input_audio_buffer.speech_started")
            stopped = await client.until("input_audio_buffer.speech_stopped")
            found.append((started["audio_start_ms"], stopped["audio_end_ms"]))

    assert len(set(found)) == 1


async def test_create_response_answers_by_itself_and_otherwise_nothing_does() -> None:
    for create, expected in ((True, 1), (False, 0)):
        async with talking(settings=detection(create_response=create)) as client:
            client.append(TURN)
            await client.until("conversation.item.input_audio_transcription.completed")
            if create:
                await client.until("response.done")

            assert len(client.session.journal.of("response.created")) == expected


@pytest.mark.parametrize("interrupt", [True, False])
async def test_speech_cancels_the_response_if_the_session_says_so(interrupt: bool) -> None:
    script = ObedientScript([Say("ארוך", audio=bytes(80_000))])
    async with talking(script, settings=detection(interrupt_response=interrupt), tuning=Tuning(speed=4)) as client:
        client.send("response.create")
        await client.until("response.output_audio.delta")
        client.append(silence(200) + SPEECH)
        done = (await client.until("response.done"))["response"]

        assert done["status"] == ("cancelled" if interrupt else "completed")
        if interrupt:
            assert done["status_details"]["reason"] == "turn_detected"
            after = client.types[client.types.index("input_audio_buffer.speech_started") :]
            assert "response.output_audio.delta" not in after


async def test_manual_turns_are_committed_by_the_client() -> None:
    settings = {
        **SETTINGS,
        "audio": {**SETTINGS["audio"], "input": {"format": {"type": "audio/pcmu"}, "turn_detection": None}},
    }
    async with talking(settings=settings) as client:
        client.append(TURN)
        client.send("input_audio_buffer.commit")
        committed = await client.until("input_audio_buffer.committed")

        assert "input_audio_buffer.speech_started" not in client.types
        assert client.session.item(committed["item_id"]).audio_ms == pytest.approx(len(TURN) / 8, abs=1)


async def test_truncation_forgets_what_was_not_heard() -> None:
    async with talking(ObedientScript([Say("אחת שתיים שלוש", audio=bytes(8000))])) as client:
        done = await client.reply()
        item_id = done["output"][0]["id"]
        client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=400)
        await client.until("conversation.item.truncated")

        item = client.session.item(item_id)
        assert (item.truncated_at, item.audio_ms, item.transcript) == (400, 400, None)


async def test_items_are_created_where_they_belong_retrieved_and_deleted() -> None:
    async with talking() as client:
        for item_id, after in (("b", None), ("a", "root"), ("c", "b")):
            client.send("conversation.item.create", item={**system(item_id), "id": item_id}, previous_item_id=after)
            await client.until("conversation.item.done")
        client.send("conversation.item.retrieve", item_id="a")
        retrieved = await client.until("conversation.item.retrieved")
        client.send("conversation.item.delete", item_id="b")
        await client.until("conversation.item.deleted")

        assert retrieved["item"]["content"][0]["text"] == "a"
        assert [event["previous_item_id"] for event in client.of("conversation.item.added")] == [None, None, "b"]
        assert [item.id for item in client.session.conversation] == ["a", "c"]
        with pytest.raises(KeyError, match="b"):
            client.session.item("b")
        assert not client.session.violations


async def test_a_tools_output_is_taken_once_for_its_call() -> None:
    async with talking(ObedientScript([CallTool("end_call", {}, "call_1")])) as client:
        await client.reply()
        client.send(
            "conversation.item.create",
            item={"type": "function_call_output", "call_id": "call_1", "output": '{"ok":true}'},
        )
        await client.until("conversation.item.done")

        assert [item.output for item in client.session.conversation] == ["", '{"ok":true}']
        assert not client.session.violations


async def test_the_script_learns_whose_session_it_is() -> None:
    infos: list[SessionInfo] = []

    def script_for(info: SessionInfo) -> ObedientScript:
        infos.append(info)
        return ObedientScript()

    async with ModelServer(script_for, tuning=FAST) as server:
        peer = await connect(f"{server.url}?model=gpt-realtime-2.1", headers={**KEY, "OpenAI-Safety-Identifier": "CA1"})
        session = await server.wait_for_session(1)
        assert server.open_sessions == 1
        peer.close()
        await asyncio.wait_for(session.peer.gone(), 5)

    assert (info_of(infos).safety_identifier, info_of(infos).model) == ("CA1", "gpt-realtime-2.1")
    assert server.open_sessions == 0


async def test_waiting_for_what_does_not_come_says_what_did() -> None:
    async with talking() as client:
        with pytest.raises(TimeoutError, match=r"No response.create number 1 .*session.update"):
            await client.session.wait_for("response.create", timeout=0.05)
