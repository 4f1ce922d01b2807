"""Guards that a call ends with its stream: nothing behind `<Connect>` keeps the line, and a human leg is bounded."""

from collections.abc import AsyncIterator
from xml.etree import ElementTree

import pytest

from rehearsal.model import CallTool
from rehearsal.twilio import CallScript, Human, Line
from rehearsal.world import World
from tests.line.asking import about, ask
from tests.line.ending import talking
from tests.line.listening import SPEECH
from tests.line.test_conversation import LOCKSMITH, Judging, greeted


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with World({"VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0"}) as world:
        yield world


def verbs(twiml: str) -> list[str]:
    return [verb.tag for verb in ElementTree.fromstring(twiml)]


async def test_behind_connect_stands_the_hang_up_and_nothing_else(world: World) -> None:
    call = await world.call(line=CallScript(line=Line(connect_after_s=30)), to=LOCKSMITH)
    await call.until(lambda: call.verbs == ["Connect"])
    again = await ask(world, "/twilio/voice", about(call.sid, "in-progress", From="+972501234567", To=LOCKSMITH))
    assert verbs(again.body) == ["Connect", "Hangup"]
    fresh = await ask(world, "/twilio/after-stream", about(call.sid, "in-progress"))
    assert verbs(fresh.body) == ["Connect", "Hangup"]
    await call.hang_up()


async def test_after_a_goodbye_twilio_is_told_to_hang_up_and_nothing_else(world: World) -> None:
    talk = await greeted(world, CallTool("end_call", {"language": "he"}))
    await talk.call.say(SPEECH)
    await talk.call.until_ended()
    assert talk.call.verbs == ["Connect", "Hangup"]


async def test_how_long_a_human_may_talk_is_bounded(world: World) -> None:
    """Nobody watches that leg: neither the silence clock nor the limit of a call reaches it."""
    script = CallScript(human=Human("answered", rings_s=30))
    call = await world.call(Judging([CallTool("transfer_to_human", {"language": "he"})]), script, to=LOCKSMITH)
    await world.session_of(call)
    await call.until_heard(300)
    await call.say(SPEECH)
    await call.until(lambda: "Dial" in call.verbs)
    again = await ask(world, "/twilio/after-stream", about(call.sid, "in-progress"))
    (dial,) = ElementTree.fromstring(again.body).findall("Dial")
    assert dial.attrib["timeLimit"] == "900", "as the flow file says"
    assert verbs(again.body) == ["Dial"], "what follows is asked for at the action's address"
    await call.hang_up()


async def test_the_hard_limit_closes_on_a_caller_who_is_speaking() -> None:
    """Barge-in takes back a goodbye; a limit it does not."""
    async with World({"MAX_CALL_S": "5", "DRAIN_SECONDS": "0"}) as short:
        talk = await talking(short)
        talk.session.ears.hear_speech()
        await talk.call.until(lambda: len(talk.call.clears) == 1)
        started = talk.call.stream.started_at
        assert started is not None
        await talk.closed(started + 5)
        assert (await talk.record()).call["end_reason"] == "max_duration"
