"""A caller who asks for a person gets one when the announcement is heard, or comes back to the same step."""

from collections.abc import AsyncIterator

import pytest

from rehearsal.model import CallTool
from rehearsal.model.mulaw import hum
from rehearsal.twilio import Callbacks, CallScript, Human
from rehearsal.world import World
from tests.line.ending import ECHOED_S, fin, record
from tests.line.listening import SPEECH, Talk, noise
from tests.line.test_conversation import LOCKSMITH, LONG_MS, Judging, orders

ASKS_FOR_A_PERSON = CallTool("transfer_to_human", {"language": "he"})


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Short turns, and REST that would hang up soon if it did so at all."""
    settings = {"VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0", "HANGUP_FALLBACK_S": "0.5", "TERMINAL_STATUS_S": "3"}
    settings |= {"MODEL_RECONNECTS": "0", "MODEL_REST_S": "0"}
    async with World(settings, speak=lambda text, language: hum(text[:25], language)) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"
        assert [notice for call in world.twilio.calls for notice in call.violations] == [], "Kav broke Twilio's rules"


async def asks_for_a_person(world: World, human: Human) -> Talk:
    """A call to the locksmith whose caller asks for a person in the first turn."""
    call = await world.call(Judging([ASKS_FOR_A_PERSON]), CallScript(human=human), to=LOCKSMITH)
    talk = Talk(call, await world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
    await call.say(SPEECH)
    return talk


async def test_the_human_is_rung_when_the_announcement_was_heard_and_nobody_hangs_up(world: World) -> None:
    talk = await asks_for_a_person(world, Human("answered", talks_s=2.0))
    await talk.call.until_socket_closed()
    assert talk.heard_ms_of(noise(2, 300)) == 300, "the announcement was heard to its end"
    await fin(talk.session.peer, talk.call.marks_echoed[-1][0], ECHOED_S)
    await talk.call.until_ended()
    assert talk.call.verbs == ["Connect", "Dial", "Hangup"]
    assert talk.call.dialled == ["+97231110009"]
    assert not [asked for asked in world.twilio.rest.requests if talk.call.sid in str(asked)], "REST kills no transfer"


@pytest.mark.parametrize("outcome", ["busy", "no-answer"])
async def test_a_caller_whom_nobody_takes_comes_back_to_the_same_step(world: World, outcome: str) -> None:
    talk = await asks_for_a_person(world, Human(outcome))
    back = await world.session_of(talk.call, 2)
    await back.wait_for("response.create")
    (order,) = orders(Talk(talk.call, back))
    assert "אין כרגע נציג אנושי פנוי." in order
    assert "ספרו לי בקצרה, מה קרה?" in order, "the step that was left"
    await talk.call.hang_up()
    assert len(talk.call.streams) == 2


async def test_the_end_of_a_call_that_a_human_has_had_is_asked_for_when_nobody_tells(world: World) -> None:
    script = CallScript(human=Human("answered", talks_s=0.5), callbacks=Callbacks(missing=True))
    call = await world.call(Judging([ASKS_FOR_A_PERSON]), script, to=LOCKSMITH)
    talk = Talk(call, await world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
    await call.say(SPEECH)
    await call.until_ended()
    found = await record(world, call.sid, lambda found: bool(found.call.get("terminal_status")))
    assert (found.call["terminal_status"], found.call["end_reason"]) == ("completed", "transferred")
    assert found.call["duration_s"] == call.duration_s
    assert [asked.method for asked in world.twilio.rest.requests if call.sid in asked.path] == ["GET"]


async def test_a_caller_who_speaks_over_the_announcement_stays(world: World) -> None:
    call = await world.call(Judging([ASKS_FOR_A_PERSON], long=2), to=LOCKSMITH)
    talk = Talk(call, await world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
    await call.say(SPEECH)
    await call.until(lambda: talk.heard_ms_of(noise(2, LONG_MS)) >= 50)
    talk.session.ears.hear_speech()
    await call.until(lambda: talk.heard_ms_of(noise(3, 300)) == 300)
    assert call.dialled == []
    await call.hang_up()


@pytest.mark.parametrize(("outcome", "verbs"), [("answered", ["Hangup"]), ("no-answer", ["Say", "Hangup"])])
async def test_a_caller_whose_model_dies_is_handed_over_by_twilios_voice(
    world: World, outcome: str, verbs: list[str]
) -> None:
    script = CallScript(human=Human(outcome, talks_s=0.2), say_s_a_character=0.002)
    call = await world.call(Judging([]), script, to=LOCKSMITH)
    talk = Talk(call, await world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
    talk.session.reset()
    await call.until_ended()
    assert call.verbs == ["Connect", "Say", "Dial", *verbs]
    assert call.dialled == ["+97231110009"]
    assert call.said[0] == "רגע אחד, אני מעבירה אתכם למנעולן התורן."
    assert not [asked for asked in world.twilio.rest.requests if call.sid in str(asked)], "REST kills no transfer"
