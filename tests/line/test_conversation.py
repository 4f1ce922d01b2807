"""A business's script over the wire: judged in silence, spoken as told, ended when heard (Promises 1 and 3)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from rehearsal.model import CallTool, Faults, ModelSession, Reply, ReplyRequest, Say, Script, WriteText
from rehearsal.model.script import Part
from rehearsal.twilio import Call
from rehearsal.world import World
from tests.line.ending import ECHOED_S, fin, record
from tests.line.listening import SPEECH, Talk, noise

LOCKSMITH = "+97231110001"
ASK_S, CLOSE_S = 0.8, 1.4
TIMER_S = 3
"""The clock is looked at ten times a second, and the machine is busy."""

LONG_MS = 12_000
"""A sentence of which a good part is left when somebody speaks over it, though the machine stood still meanwhile."""


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Short turns, and nobody who asks why it is so quiet."""
    async with quiet_world(ask_s=30, close_s=60) as world:
        yield world


@asynccontextmanager
async def quiet_world(ask_s: float, close_s: float) -> AsyncIterator[World]:
    """A world whose Kav has so much patience with silence."""
    settings = {"VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0", "HANGUP_FALLBACK_S": "1"}
    async with World({**settings, "SILENCE_ASK_S": str(ask_s), "SILENCE_CLOSE_S": str(close_s)}) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"


class Judging(Script):
    """Judges turn after turn as it is given, and says whatever it is told to in 300 ms.

    Its `long`th sentence takes LONG_MS: somebody is going to speak over it.
    """

    def __init__(self, judgements: Iterable[Part | Reply], long: int = 0) -> None:
        self.judgements = list(judgements)
        self.long = long
        self.voices = 0

    def heard(self, session: ModelSession) -> str:  # noqa: ARG002 - the transcriber heard nothing that it could write
        """An empty transcript."""
        return ""

    def reply(self, request: ReplyRequest) -> Reply:
        """A judgement where one is required, else the quoted phrase or some words."""
        if request.tool_choice == "required":
            judgement = self.judgements.pop(0) if self.judgements else CallTool("unclear", {})
            return judgement if isinstance(judgement, Reply) else Reply([judgement], first_after_s=0.02)
        self.voices += 1
        words = request.phrase or request.told or "..."
        sound = noise(self.voices, LONG_MS if self.voices == self.long else 300)
        return Reply([Say(words, audio=sound)], first_after_s=0.02)


async def greeted(world: World, *judgements: Part | Reply, faults: Iterable[Faults] = ()) -> Talk:
    """A call to the locksmith whose first question was heard."""
    call = await world.call(Judging(judgements), faults=faults, to=LOCKSMITH)
    talk = Talk(call, await world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
    return talk


async def turn(talk: Talk, voice: int) -> None:
    """The caller says something, and hears the so-manieth sentence of the bot to its end."""
    await talk.call.say(SPEECH)
    await talk.call.until(lambda: talk.heard_ms_of(noise(voice, 300)) == 300)


def orders(talk: Talk) -> list[str]:
    """What Kav told the model to judge or to say, in order; what it retold of another connection's is none of that."""
    created = [event["item"] for event in talk.asked("conversation.item.create")]
    told = [item for item in created if item["type"] == "message" and not item["id"].startswith("retold")]
    return [item["content"][0]["text"] for item in told]


async def ended(world: World, call: Call) -> str:
    """How the call ended, from its record."""
    found = await record(world, call.sid, lambda found: found.whole)
    return str(found.call["end_reason"])


async def test_a_turn_is_judged_in_text_with_a_tool_and_then_spoken_without_one(world: World) -> None:
    talk = await greeted(world, CallTool("answer_step", {"step": "problem", "value": "דלת", "language": "he"}))
    await turn(talk, voice=2)
    greeting, judge, speak = (event["response"] for event in talk.asked("response.create"))
    assert greeting["tool_choice"] == "none"
    assert (judge["tool_choice"], judge["output_modalities"]) == ("required", ["text"])
    assert speak["tool_choice"] == "none"
    assert "output_modalities" not in speak
    await talk.call.hang_up()


async def test_the_model_is_only_shown_the_active_step_and_its_instructions_never_change(world: World) -> None:
    talk = await greeted(world, CallTool("answer_step", {"step": "problem", "value": "דלת", "language": "he"}))
    await turn(talk, voice=2)
    _greeting, judge, speak = orders(talk)
    assert "ספרו לי בקצרה, מה קרה?" in judge
    assert "באיזו עיר אתם?" in speak
    assert "מה הכתובת המלאה?" not in json.dumps([event for _at, event in talk.session.received], ensure_ascii=False)
    assert len(talk.asked("session.update")) == 1
    assert all("instructions" not in event["response"] for event in talk.asked("response.create"))
    await talk.call.hang_up()


async def test_a_goodbye_closes_both_sockets_as_soon_as_it_is_heard_and_not_before(world: World) -> None:
    talk = await greeted(world, CallTool("end_call", {"language": "he"}))
    await talk.call.say(SPEECH)
    async with asyncio.timeout(10):
        await talk.call.socket.gone()
    heard_at = talk.call.heard[-1].end_s
    assert talk.heard_ms_of(noise(2, 300)) == 300, "to its last sound"
    for peer in (talk.call.socket, talk.session.peer):
        await fin(peer, talk.call.marks_echoed[-1][0], ECHOED_S)
        assert peer.eof_at is not None
        assert peer.eof_at >= heard_at
    assert await ended(world, talk.call) == "goodbye"


async def test_silence_is_asked_about_once_and_then_the_line_is_closed_without_a_word() -> None:
    async with quiet_world(ASK_S, CLOSE_S) as impatient:
        talk = await greeted(impatient)
        async with asyncio.timeout(10):
            await talk.call.socket.gone()
        greeting, asked = talk.call.heard
        assert len(talk.asked("response.create")) == 2, "the greeting, and one question"
        assert talk.heard_ms_of(noise(2, 300)) == 300
        assert ASK_S <= asked.start_s - greeting.end_s <= ASK_S + TIMER_S
        closed_at = talk.call.socket.eof_at or time.monotonic()
        assert CLOSE_S - ASK_S - 0.15 <= closed_at - asked.end_s <= CLOSE_S - ASK_S + TIMER_S
        assert await ended(impatient, talk.call) == "silence"


async def test_a_judgement_that_is_sent_twice_is_ruled_on_once(world: World) -> None:
    call = CallTool("answer_step", {"step": "problem", "value": "דלת", "language": "he"}, call_id="call_x")
    talk = await greeted(world, Reply([call, call], first_after_s=0.02))
    await turn(talk, voice=2)
    outputs = [item for item in talk.session.conversation if item.type == "function_call_output"]
    assert len(outputs) == 1
    assert "באיזו עיר אתם?" in orders(talk)[-1], "the second one did not answer the next step"
    await talk.call.hang_up()


async def test_a_model_that_writes_instead_of_judging_is_asked_twice_and_the_question_stays(world: World) -> None:
    talk = await greeted(world, WriteText("the caller is locked out"), WriteText("the caller is locked out"))
    await turn(talk, voice=2)
    assert [event["response"]["tool_choice"] for event in talk.asked("response.create")] == [
        "none", "required", "required", "none",
    ]  # fmt: skip
    assert "ספרו לי בקצרה, מה קרה?" in orders(talk)[-1]
    await talk.call.hang_up()


async def test_a_caller_who_goes_on_while_they_are_judged_is_judged_once_for_all_they_said(world: World) -> None:
    late = Reply([CallTool("answer_step", {"step": "problem", "value": "דלת", "language": "he"})], first_after_s=6.0)
    said = CallTool("answer_step", {"step": "problem", "value": "דלת ננעלה", "language": "he"})
    talk = await greeted(world, late, said)
    await talk.call.say(SPEECH)
    await talk.session.wait_for("response.created", 2)
    await turn(talk, voice=2)
    done = [event["response"]["status"] for _at, event in talk.session.sent if event["type"] == "response.done"]
    assert done == ["completed", "cancelled", "completed", "completed"]
    assert len([item for item in talk.session.conversation if item.type == "function_call_output"]) == 1
    talk.hold_to_the_rules(replies=4)
    await talk.call.hang_up()
