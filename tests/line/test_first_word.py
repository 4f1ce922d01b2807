"""A call is answered, greeted and carried: the first word, and every word of the caller's."""

import time
from collections.abc import AsyncIterator

import pytest

from rehearsal.model import Faults
from rehearsal.twilio import Call, CallScript, Line
from rehearsal.world import World
from tests.line.listening import SPEECH, Talk, Voiced, noise, say, talking

AT_ONCE_S = 3.0
"""Room for a busy machine; the bench holds Kav to a twentieth of it."""
SLOW_S = 3.0
"""The model is not there when the caller speaks, though the machine stood still meanwhile."""
GREETING, ANSWER = noise(1, 1000), noise(2, 600)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Short turns, and patience with a model that is slow to come."""
    async with World({"VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0", "MODEL_CONNECT_TIMEOUT_S": "10"}) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"


def forwarded(call: Call, talk: Talk) -> None:
    """What the model was given is what the caller's line carried, from its first byte on."""
    sent = b"".join(call.sent_frames)
    assert talk.session.audio_in
    assert sent.startswith(talk.session.audio_in)


async def test_the_greeting_is_heard_whole_and_once(world: World) -> None:
    talk = await talking(world, say(GREETING))
    await talk.call.until(lambda: talk.heard_ms_of(GREETING) == 1000)
    await talk.call.until_quiet(for_s=0.5)
    assert talk.call.heard_ms == 1000
    talk.hold_to_the_rules(replies=1)
    await talk.call.hang_up()


@pytest.mark.parametrize("line", [Line(), Line(start_after_s=0.4)], ids=["model last", "stream last"])
async def test_the_greeting_is_asked_for_as_soon_as_both_sides_are_there_and_never_before(
    world: World, line: Line
) -> None:
    slow = Faults(upgrade_after_s=0 if line.start_after_s else 0.4)
    call = await world.connected_call(Voiced(say(GREETING)), CallScript(line=line), faults=[slow])
    session = await world.session_of(call)
    await session.wait_for("response.output_audio.delta")
    await call.until_heard(1)
    (asked_at,) = (at for at, event in session.received if event["type"] == "response.create")
    ready_at = next(at for at, event in session.sent if event["type"] == "session.updated")
    spoke_at = next(at for at, event in session.sent if event["type"] == "response.output_audio.delta")
    both_at = max(ready_at, call.stream.started_at or 0.0)
    assert 0 <= asked_at - both_at <= AT_ONCE_S
    assert call.heard[0].start_s - spoke_at <= AT_ONCE_S


async def test_every_caller_frame_is_forwarded_bit_for_bit_in_order(world: World) -> None:
    talk = await talking(world, say(GREETING))
    voice = bytes(range(256)) * 40
    await talk.call.say(voice)
    await talk.call.until(lambda: voice in talk.session.audio_in)
    await talk.call.hang_up()
    forwarded(talk.call, talk)
    under_way = len(b"".join(talk.call.sent_frames)) - len(talk.session.audio_in)
    assert under_way <= 160 * 3, "at most the frames under way at the hang-up are missing"


@pytest.mark.parametrize(
    "faults",
    [[Faults(upgrade_after_s=SLOW_S)], [Faults(upgrade_after_s=SLOW_S, refuse_status=503)]],
    ids=["slow", "refused at first"],
)
async def test_what_the_caller_says_before_the_model_is_ready_comes_first(world: World, faults: list[Faults]) -> None:
    call = await world.connected_call(Voiced(say(GREETING), [say(ANSWER)]), faults=faults)
    said = await call.say(noise(3, 200) + SPEECH)
    talk = Talk(call, await world.session_of(call))
    await talk.session.wait_for("input_audio_buffer.committed")
    await call.until(lambda: call.heard_ms >= 200)
    forwarded(call, talk)
    assert noise(3, 200) + SPEECH in talk.session.audio_in
    ready_at = next(at for at, event in talk.session.sent if event["type"] == "session.updated")
    assert said.began_at < ready_at, "the model was not there yet"
    kinds = [event["type"] for _at, event in talk.session.received]
    assert kinds.index("input_audio_buffer.append") < kinds.index("response.create")
    assert talk.session.violations == []


async def test_media_that_makes_no_sense_does_not_end_the_call(world: World) -> None:
    talk = await talking(world, say(GREETING), say(ANSWER))
    for number in ("9" * 5000, "-1", "x", ""):
        talk.call.send_raw(
            f'{{"event":"media","sequenceNumber":"{number}","media":{{"track":"inbound","payload":"="}},'
            f'"streamSid":"{talk.call.stream.sid}"}}'
        )
    talk.call.send_raw('{"event":"mark","x":' + "[" * 100_000)
    await talk.call.until(lambda: talk.heard_ms_of(GREETING) == 1000)
    await talk.call.say(SPEECH)
    await talk.call.until(lambda: talk.heard_ms_of(ANSWER) == 600)
    began = time.monotonic()
    await talk.call.hang_up()
    assert time.monotonic() - began < 3
    forwarded(talk.call, talk)
