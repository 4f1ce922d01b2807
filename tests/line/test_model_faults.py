"""Whatever the model does wrong, the caller hears an answer or an apology: never silence, never an open socket."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest

from rehearsal.model import After, Faults, ModelSession, Reply
from rehearsal.model.faults import GARBAGE
from rehearsal.twilio import Call, CallScript, Line
from rehearsal.twilio.signing import SIGNATURE_HEADER, signature
from rehearsal.websocket import connect
from rehearsal.world import AUTH_TOKEN, World
from tests.line.listening import SPEECH, Talk, Voiced, noise, say, talking

REPLY_TIMEOUT_S, CONNECT_TIMEOUT_S = 6.0, 3.0
SLACK_S = 5.0
"""What a busy machine and the way to after-stream may add to Kav's own patience."""

HEBREW = re.compile("[א-ת ,.]+")
GREETING, ANSWER = noise(1, 600), noise(2, 600)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Little patience, short turns, and an apology that takes 200 ms."""
    settings = {
        "MODEL_REPLY_TIMEOUT_S": str(REPLY_TIMEOUT_S),
        "MODEL_CONNECT_TIMEOUT_S": str(CONNECT_TIMEOUT_S),
        "MODEL_RECONNECTS": "0",
        "MODEL_REST_S": "0",
        "VAD_SILENCE_MS": "200",
        "DRAIN_SECONDS": "0",
    }
    async with World(settings, speak=lambda _text, _language: noise(0, 200)) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"


async def apologises(world: World, call: Call, within_s: float) -> None:
    """The caller hears the apology in Hebrew, the call ends, and nothing stays open."""
    await call.until(lambda: bool(call.said), within_s)
    assert len(call.said) == 1
    assert HEBREW.fullmatch(call.said[0])
    await call.until_ended()
    await call.until(lambda: not any(session.is_open for session in world.sessions_of(call)))
    assert call.socket.eof_at is not None
    assert [asked.body for asked in world.twilio.asked if asked.form["CallSid"] == call.sid and "he-IL" in asked.body]


async def goes_on(talk: Talk) -> None:
    """The greeting was heard whole, and the caller is still answered."""
    await talk.call.until(lambda: talk.heard_ms_of(GREETING) == 600)
    replies = len(talk.session.journal.of("response.done"))
    await talk.call.say(SPEECH)
    await talk.session.wait_for("response.done", replies + 1)
    await talk.call.until(lambda: talk.heard_ms_of(ANSWER) == 600)
    assert talk.call.said == []
    await talk.call.hang_up()


def wrong_format(session: ModelSession) -> None:
    """Confirm what a session has before any update: 24 kHz PCM."""
    session.send({"type": "session.updated", "session": session.config})


def flood(session: ModelSession) -> None:
    """Nothing but garbage."""
    for _ in range(30):
        session.garbage()


def fail(code: str) -> Callable[[ModelSession], None]:
    """An error that ends the account's or the session's use."""
    return lambda session: session.error(code)


AT_CONNECT = {
    **{f"refused with {status}": Faults(refuse_status=status) for status in (401, 403, 429, 503)},
    "slow": Faults(upgrade_after_s=30),
    "never confirmed": Faults(no_session_updated=True),
    "neither created nor confirmed": Faults(no_session_created=True, no_session_updated=True),
    "update refused": Faults(refuse_update_code="invalid_value"),
    "not mu-law": Faults(no_session_updated=True, after=(After("session.update", wrong_format),)),
    "lost before it is configured": Faults(no_session_updated=True, after=(After("session.update", "drop"),)),
    "reset before it is configured": Faults(no_session_updated=True, after=(After("session.update", "reset"),)),
    "garbage instead of a confirmation": Faults(no_session_updated=True, after=(After("session.update", flood),)),
}


STREAMS = {"adopts it": CallScript(), "comes when it has failed": CallScript(line=Line(connect_after_s=1.3))}
"""When the stream comes, seen from the prewarmed connection."""


async def test_a_model_that_cannot_be_reached_ends_with_an_apology(world: World) -> None:
    async def suffer(fault: Faults, line: CallScript) -> None:
        call = await world.call(Voiced(say(GREETING)), line, faults=[fault] * 4)
        await call.until_streaming()
        await apologises(world, call, 2 * CONNECT_TIMEOUT_S + SLACK_S)
        assert world.upgrades_of(call) <= 2

    kinds = {f"{a}, {b}": (fault, line) for a, fault in AT_CONNECT.items() for b, line in STREAMS.items()}
    await in_parallel({name: suffer(*kind) for name, kind in kinds.items()})


async def test_a_prewarm_that_fails_is_tried_once_more_by_the_stream(world: World) -> None:
    passing = {name: fault for name, fault in AT_CONNECT.items() if "refused with" in name or "before it is" in name}

    async def suffer(fault: Faults, line: CallScript) -> None:
        call = await world.call(Voiced(say(GREETING), [say(ANSWER)]), line, faults=[fault])
        await call.until_streaming()
        number = 1 if fault.refuse_status else 2
        await goes_on(Talk(call, await world.session_of(call, number)))
        assert world.upgrades_of(call) == 2

    kinds = {f"{a}, {b}": (fault, line) for a, fault in passing.items() for b, line in STREAMS.items()}
    await in_parallel({name: suffer(*kind) for name, kind in kinds.items()})


async def test_a_model_that_never_says_that_the_session_is_created_is_used_all_the_same(world: World) -> None:
    await goes_on(await talking(world, say(GREETING), say(ANSWER), faults=[Faults(no_session_created=True)]))


DEATHS = {
    **{name: name for name in ("drop", "reset", "close", "stall", "vanish", "expire")},
    "stops reading too": lambda session: session.stall(reading=False),
    "flood of garbage": flood,
    **{code: fail(code) for code in ("insufficient_quota", "session_expired", "invalid_api_key")},
}
MOMENTS = {
    "before created": "response.create",
    "in mid reply": "response.output_audio.delta",
    "while the caller speaks": "input_audio_buffer.speech_started",
    "between the turn and its reply": "input_audio_buffer.committed",
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_model_that_dies_or_falls_silent_ends_with_an_apology(world: World, moment: str) -> None:
    async def suffer(act: str | Callable[[ModelSession], object]) -> None:
        fault = Faults(after=(After(MOMENTS[moment], act),))
        talk = await talking(world, say(GREETING), say(ANSWER), faults=[fault])
        if "caller" in moment or "turn" in moment:
            await talk.session.wait_for("response.done")
            await talk.call.say(SPEECH)
        await apologises(world, talk.call, REPLY_TIMEOUT_S + SLACK_S)

    await in_parallel({name: suffer(act) for name, act in DEATHS.items()})


async def test_garbage_is_passed_over(world: World) -> None:
    async def suffer(kind: str) -> None:
        fault = Faults(after=(After("response.output_audio.delta", lambda session: session.garbage(kind)),))
        await goes_on(await talking(world, say(GREETING), say(ANSWER), faults=[fault]))

    await in_parallel({kind: suffer(kind) for kind in (*GARBAGE, "binary")})


BENIGN = ("rate_limit_exceeded", "response_cancel_not_active", "item_not_found", "invalid_value")


async def test_errors_that_are_not_fatal_leave_the_call_alone(world: World) -> None:
    async def suffer(code: str) -> None:
        fault = Faults(after=(After("response.create", fail(code)), After("response.output_audio.delta", fail(code))))
        await goes_on(await talking(world, say(GREETING), say(ANSWER), faults=[fault]))

    await in_parallel({code: suffer(code) for code in BENIGN})


FAILED, EMPTY = Reply(status="failed", first_after_s=0.05), Reply(first_after_s=0.05)


BROKE = Reply(status="failed", error=("insufficient_quota", "You exceeded your current quota."))


async def test_a_reply_that_came_to_nothing_is_asked_for_once_more(world: World) -> None:
    async def suffer(bad: Reply) -> None:
        await goes_on(await talking(world, say(GREETING), bad, say(ANSWER)))

    await in_parallel({"failed": suffer(FAILED), "empty": suffer(EMPTY)})


async def test_a_reply_that_comes_to_nothing_twice_or_must_fail_ends_with_an_apology(world: World) -> None:
    async def suffer(*bad: Reply) -> None:
        talk = await talking(world, say(GREETING), *bad)
        await talk.session.wait_for("response.done")
        await talk.call.say(SPEECH)
        await apologises(world, talk.call, SLACK_S)
        assert len(talk.asked("response.create")) == 1 + len(bad)

    await in_parallel({"failed": suffer(FAILED, FAILED), "empty": suffer(EMPTY, EMPTY), "fatal": suffer(BROKE)})


async def test_a_reply_that_ends_too_early_is_heard_as_far_as_it_goes(world: World) -> None:
    short = Reply(say(noise(3, 400)).parts, 0.05, status="incomplete")
    talk = await talking(world, say(GREETING), short, say(ANSWER))
    await talk.call.until(lambda: talk.heard_ms_of(GREETING) == 600)
    await talk.call.say(SPEECH)
    await talk.call.until(lambda: talk.heard_ms_of(noise(3, 400)) == 400)
    await goes_on(talk)


async def test_a_model_that_is_slow_to_begin_is_waited_for(world: World) -> None:
    talk = await talking(world, say(GREETING), say(ANSWER), faults=[Faults(created_after_s=REPLY_TIMEOUT_S / 4)])
    await goes_on(talk)
    assert len(talk.asked("response.create")) == 2


async def test_a_response_that_nobody_asked_for_is_not_heard(world: World) -> None:
    foreign = noise(4, 1000)
    talk = await talking(world, say(GREETING), say(foreign, first_after_s=0), say(ANSWER))
    await talk.call.until(lambda: talk.heard_ms_of(GREETING) == 600)
    talk.session.answer_turn()
    await talk.session.wait_for("response.cancel")
    await goes_on(talk)
    assert talk.heard_ms_of(foreign) == 0
    assert talk.session.conversation.find(talk.items[1]) is None, "the model does not believe that it was heard"


async def test_a_model_that_answers_a_turn_by_itself_does_not_make_the_bot_answer_twice(world: World) -> None:
    async def suffer(created_after_s: float) -> None:
        by_itself = After("input_audio_buffer.committed", lambda session: session.answer_turn())
        fault = Faults(created_after_s=created_after_s, after=(by_itself,))
        talk = await talking(world, say(GREETING), say(ANSWER), say(ANSWER), faults=[fault])
        await talk.call.until(lambda: talk.heard_ms_of(GREETING) == 600)
        await talk.call.say(SPEECH)
        await talk.call.until(lambda: talk.heard_ms_of(ANSWER) == 600)
        await talk.call.until_quiet(for_s=0.3)
        assert talk.call.heard_ms == 1200, "one answer"
        assert talk.call.said == []

    await in_parallel({"created at once": suffer(0.0), "created late": suffer(0.4)})


async def test_a_strangers_stream_never_opens_a_model_connection(world: World) -> None:
    before = len(world.model.sessions), world.model.open_connections
    url = world.kav.url.replace("http", "ws") + "/twilio/media"
    peer = await connect(url, {SIGNATURE_HEADER: signature(AUTH_TOKEN, url)})
    for start in ('{"callSid":"CAstranger","streamSid":"MZ1"}', '{"callSid":"","streamSid":"","customParameters":{}}'):
        peer.send_text('{"event":"start","start":' + start + ',"streamSid":"MZ1"}')
    await asyncio.wait_for(peer.gone(), 10)
    assert peer.close_code == 1008
    assert len(world.model.sessions) == before[0]
    assert world.model.open_connections <= before[1], "those of the calls before may still be closing"
    peer.abort()


async def in_parallel(sufferings: Mapping[str, Awaitable[None]]) -> None:
    """Let all of them happen at once; fail with the name of each that failed."""
    results = await asyncio.gather(*sufferings.values(), return_exceptions=True)
    failures = {name: repr(result) for name, result in zip(sufferings, results, strict=True) if result is not None}
    assert failures == {}
