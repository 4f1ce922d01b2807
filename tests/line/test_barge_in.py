"""The caller speaks = the bot is silent, over real sockets, whatever the bot was doing (Promise 2)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from rehearsal.model import CallTool, Faults, Reply
from rehearsal.speech import speak
from rehearsal.world import World
from tests.line.ending import record
from tests.line.listening import HEARD_AFTER_MS, SPEECH, Talk, noise, say, talking

WITHIN_MS = 250
"""How much more than was heard the model may remember, on a busy machine; `test_playhead_truth` is exact."""

STOOD_STILL_MS = 2000
"""How much less: what sounds while a `clear` waits for a machine that stands still is heard, and nobody was told."""

AT_ONCE_S = 3.0
"""Speech is known and the bot silent, on a machine that stands still now and then; LONG lasts much longer."""

ATTEMPTS = 5
"""A moment that a machine which stood still has missed is tried again."""

CLOCKS_APART_MS = 250
"""Kav looks at its clock when all is sent, the stand-in when it came."""

GREETING, ANSWER, SECOND, LONG = noise(1, 6000), noise(2, 4000), noise(3, 1500), noise(11, 12_000)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Turns end after 200 ms of silence, so that a test is short; and nobody asks why it is so quiet."""
    patient = {"SILENCE_ASK_S": "60", "SILENCE_CLOSE_S": "70"}  # a caller may be quiet for 5 s in here
    async with World({"VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0", **patient}) as world:
        yield world
        assert world.model.violations == [], "Kav broke the model's rules"


def remembers(talk: Talk, item_id: str, sound: bytes) -> None:
    """The model remembers of an item what the caller has heard of it."""
    assert -STOOD_STILL_MS <= talk.session.item(item_id).audio_ms - talk.heard_ms_of(sound) <= WITHIN_MS


async def heard_out(talk: Talk, sound: bytes, quiet_s: float = 0.3) -> None:
    """A sound was heard to its end, Kav knows it, and then all was quiet for a while."""
    await talk.call.until(lambda: talk.heard_ms_of(sound) == len(sound) / 8)
    await talk.call.until(lambda: len(talk.call.marks_echoed) == len(talk.call.marks_sent))
    await talk.call.until_quiet(for_s=quiet_s)


async def test_in_the_greetings_first_100_ms(world: World) -> None:
    talk = await talking(world, say(GREETING))
    await talk.call.until_heard(50)
    await talk.interrupt()
    await talk.answered()
    assert talk.sent_after_clear(GREETING) == 0
    assert [item for item, _ms in talk.truncations] == talk.items[:1]
    remembers(talk, talk.items[0], GREETING)
    talk.hold_to_the_rules(replies=2)


async def test_in_mid_reply_with_late_audio_still_under_way(world: World) -> None:
    talk = await talking(world, say(LONG), faults=[Faults(late_deltas=3)])
    await talk.call.until_heard(300)
    said = await talk.call.say(SPEECH)
    cleared_at = await talk.cleared()
    await talk.answered()
    assert cleared_at - said.began_at < HEARD_AFTER_MS / 1000 + AT_ONCE_S
    assert talk.sent_after_clear(LONG) == 0
    assert [item for item, _ms in talk.truncations] == talk.items[:1]
    remembers(talk, talk.items[0], LONG)
    talk.hold_to_the_rules(replies=2)


async def test_real_speech_interrupts_and_is_answered(world: World) -> None:
    question = await asyncio.to_thread(speak, "Hello, what time is it?", "en")
    talk = await talking(world, say(GREETING), say(ANSWER), say(ANSWER))
    await talk.call.until_heard(300)
    await talk.call.say(question)
    await talk.session.wait_for("input_audio_buffer.committed")
    await talk.call.until(lambda: talk.heard_ms_of(ANSWER) > 500)
    assert talk.sent_after_clear(GREETING) == 0
    remembers(talk, talk.items[0], GREETING)


async def test_after_response_done_while_twilio_still_plays(world: World) -> None:
    talk = await talking(world, say(GREETING))
    await talk.session.wait_for("response.done")
    await talk.call.until_heard(1200)
    await talk.call.say(SPEECH)
    await talk.cleared()
    await talk.answered()
    assert talk.asked("response.cancel") == [], "nothing is left to cancel"
    assert talk.sent_after_clear(GREETING) == 0
    assert [item for item, _ms in talk.truncations] == talk.items[:1]
    remembers(talk, talk.items[0], GREETING)
    talk.hold_to_the_rules(replies=2)


async def test_30_ms_before_the_last_mark(world: World) -> None:
    greeting = noise(4, 1000)
    for _attempt in range(ATTEMPTS):
        talk = await talking(world, say(greeting))
        await talk.call.until_heard(970)
        talk.session.ears.hear_speech()
        await talk.answered()
        assert talk.truncations or talk.heard_ms_of(greeting) == 1000
        remembers(talk, talk.items[0], greeting)
        talk.hold_to_the_rules(replies=2)
        if talk.call.clears:
            return
    raise AssertionError("speech 30 ms before the last mark never cleared anything")


async def test_in_the_first_100_ms_of_a_reply_after_5_s_of_quiet(world: World) -> None:
    greeting = noise(5, 300)
    talk = await talking(world, say(greeting), say(ANSWER))
    await heard_out(talk, greeting, quiet_s=5)
    await talk.call.say(SPEECH)
    await talk.call.until(lambda: talk.heard_ms_of(ANSWER) >= 50)
    await talk.interrupt()
    await talk.answered(turns=2)
    assert talk.sent_after_clear(ANSWER) == 0
    assert [item for item, _ms in talk.truncations] == talk.items[1:2]
    remembers(talk, talk.items[0], greeting)
    remembers(talk, talk.items[1], ANSWER)
    talk.hold_to_the_rules(replies=3)


async def test_with_two_queued_items_the_one_not_begun_is_deleted(world: World) -> None:
    first, second = noise(6, 6000), noise(7, 6000)
    talk = await talking(world, say(first, second))
    await talk.session.wait_for("response.done")
    await talk.call.until_heard(500)
    await talk.call.say(SPEECH)
    await talk.cleared()
    await talk.answered()
    assert talk.sent_after_clear(first + second) == 0
    assert talk.deletions == talk.items[1:2]
    assert talk.session.conversation.find(talk.items[1]) is None
    remembers(talk, talk.items[0], first)
    talk.hold_to_the_rules(replies=2)


async def test_between_create_and_created_the_response_is_dead_at_birth(world: World) -> None:
    talk = await talking(world, say(GREETING), faults=[Faults(created_after_s=2.5, late_deltas=2)])
    await talk.session.wait_for("response.create")
    await talk.call.say(SPEECH)
    await talk.answered()
    assert talk.heard_ms_of(GREETING) == 0
    assert talk.call.clears == [], "nothing had been sent"
    assert talk.truncations == []
    remembered = [item for item in talk.session.conversation if item.role == "assistant"]
    assert [item.audio_ms for item in remembered] == [200], "the model remembers its answer alone"
    talk.hold_to_the_rules(replies=2)


async def test_twice_within_300_ms(world: World) -> None:
    talk = await talking(world, say(GREETING), say(ANSWER, first_after_s=0), say(SECOND))
    await talk.call.until_heard(400)
    await talk.interrupt()
    await talk.call.until(lambda: talk.heard_ms_of(ANSWER) > 20)
    await talk.interrupt()
    await talk.answered(turns=2)
    assert talk.sent_after_clear(GREETING) == 0
    assert talk.sent_after_clear(ANSWER, clear=2) == 0
    remembers(talk, talk.items[0], GREETING)
    remembers(talk, talk.items[1], ANSWER)
    await heard_out(talk, SECOND)
    talk.hold_to_the_rules(replies=3)


async def test_how_soon_the_bot_was_silent_is_on_record(world: World) -> None:
    cut, quiet = await talking(world, say(GREETING), say(ANSWER)), await talking(world, say(noise(10, 300)))
    await cut.call.until_heard(100)
    await cut.interrupt()
    await cut.call.until(lambda: cut.heard_ms_of(ANSWER) > 100)
    await cut.interrupt()
    begun = [at for at, event in cut.session.sent if event["type"] == "input_audio_buffer.speech_started"]
    seen_ms = [(cleared - at) * 1000 for at, cleared in zip(begun, cut.call.clears, strict=True)]
    for talk in (cut, quiet):
        await talk.call.hang_up()
    found = [await record(world, talk.call.sid, lambda row: row.whole and bool(row.streams)) for talk in (cut, quiet)]
    streams = [row.streams for row in found]
    ((interrupted,), (undisturbed,)) = streams
    assert 0 < interrupted["reaction_ms"] <= max(seen_ms) + CLOCKS_APART_MS
    assert undisturbed["reaction_ms"] is None


async def test_while_a_tool_runs(world: World) -> None:
    calls = Reply([CallTool("current_time")], first_after_s=0)
    greeting = noise(8, 200)
    talk = await talking(world, say(greeting), calls, say(SECOND), faults=[Faults(done_after_call_s=3.0)])
    await heard_out(talk, greeting)
    await talk.call.say(SPEECH)
    await talk.session.wait_for("response.function_call_arguments.done")
    await talk.call.say(SPEECH)
    await talk.answered(turns=2, replies=3)
    await heard_out(talk, SECOND)
    assert talk.call.clears == [], "nothing sounded"
    assert talk.truncations == []
    assert [item.type for item in talk.session.conversation].count("function_call_output") == 1
    talk.hold_to_the_rules(replies=3)


async def test_with_nothing_unplayed_there_is_no_clear_and_no_truncation(world: World) -> None:
    greeting = noise(9, 500)
    talk = await talking(world, say(greeting))
    await heard_out(talk, greeting)
    await talk.call.say(SPEECH)
    await talk.answered()
    assert talk.call.clears == []
    assert (talk.truncations, talk.deletions, talk.asked("response.cancel")) == ([], [], [])
    assert talk.session.item(talk.items[0]).audio_ms == 500
    assert talk.session.crossings == []
    talk.hold_to_the_rules(replies=2)
