"""No human's words are recorded unannounced: what the bot could not say of the recording, Twilio's voice says."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from rehearsal.model import CallTool, Reply, ReplyRequest
from rehearsal.twilio import Call, CallScript, Human
from rehearsal.world import World
from tests.line.listening import SPEECH, Talk, noise
from tests.line.test_conversation import LONG_MS, Judging, orders

BAKERY, KIOSK = "+97231110042", "+97231110043"
ANNOUNCEMENT = "השיחה מוקלטת."
FLOW = """\
id: {id}
business: המאפייה
numbers: ["{number}"]
languages: [he]
greeting: שלום, מדברת הנציגה הדיגיטלית.
closing: תודה, להתראות.
steps:
  - id: bread
    ask: איזה לחם?
  - id: day
    ask: לאיזה יום?
recording:
  announce: השיחה מוקלטת.
"""
TRANSFER = """\
transfer:
  to: "+97231110009"
  announcement: רגע, אני מעבירה אתכם.
"""
QUICK = CallScript(human=Human("answered", talks_s=0.2), say_s_a_character=0.002)
ANSWERS = CallTool("answer_step", {"step": "bread", "value": "שיפון", "language": "he"})
ASKS_FOR_A_PERSON = CallTool("transfer_to_human", {"language": "he"})


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Two businesses that record, one of them with a human; a model that is lost is not connected anew."""
    flows = tmp_path_factory.mktemp("flows")
    (flows / "bakery.yaml").write_text(FLOW.format(id="bakery", number=BAKERY) + TRANSFER, encoding="utf-8")
    (flows / "kiosk.yaml").write_text(FLOW.format(id="kiosk", number=KIOSK), encoding="utf-8")
    settings = {"KAV_FLOWS": str(flows), "VAD_SILENCE_MS": "200", "DRAIN_SECONDS": "0", "MODEL_RECONNECTS": "0"}
    patient = {"SILENCE_ASK_S": "30", "SILENCE_CLOSE_S": "60"}  # or a question after silence stands for a sentence
    async with World({**settings, **patient}) as world:
        yield world
        assert [notice for call in world.twilio.calls for notice in call.violations] == [], "Kav broke Twilio's rules"


async def call_to(world: World, number: str, script: Judging) -> tuple[Call, Talk]:
    call = await world.call(script, QUICK, to=number)
    return call, Talk(call, await world.session_of(call))


class Mute(Judging):
    """A model that begins to greet much later than anybody waits."""

    def reply(self, request: ReplyRequest) -> Reply:
        """Its words, after a minute."""
        return replace(super().reply(request), first_after_s=60.0)


async def test_a_human_is_announced_the_recording_when_the_model_was_lost_before_it_spoke(world: World) -> None:
    call, talk = await call_to(world, BAKERY, Mute([]))
    await talk.session.wait_for("response.create")
    talk.session.reset()
    await call.until_ended()
    assert call.verbs[:5] == ["Start", "Connect", "Say", "Say", "Dial"]
    assert call.said[:2] == [ANNOUNCEMENT, "רגע, אני מעבירה אתכם."]


async def test_last_words_are_announced_too(world: World) -> None:
    call, talk = await call_to(world, KIOSK, Mute([]))
    await talk.session.wait_for("response.create")
    talk.session.reset()
    await call.until_ended()
    assert call.verbs == ["Start", "Connect", "Say", "Say", "Hangup"]
    assert call.said[0] == ANNOUNCEMENT


async def test_a_caller_who_talked_over_the_announcement_is_told_before_anything_else(world: World) -> None:
    call, talk = await call_to(world, KIOSK, Judging([ANSWERS], long=1))
    await call.until(lambda: talk.heard_ms_of(noise(1, LONG_MS)) >= 20)
    await call.say(SPEECH)
    await call.until(lambda: talk.heard_ms_of(noise(2, 300)) == 300)
    await call.until(lambda: talk.heard_ms_of(noise(3, 300)) == 300)
    await call.say(SPEECH)
    await call.until(lambda: talk.heard_ms_of(noise(4, 300)) == 300)
    told = [f"«{ANNOUNCEMENT}" in order for order in orders(talk)]
    assert told == [True, False, True, False, False, False], "greeting, judge, announcement, speak, judge, speak"
    assert orders(talk)[2].endswith(f"«{ANNOUNCEMENT}»"), "as a phrase of its own, and not as the greeting again"
    await call.hang_up()


async def test_a_human_is_announced_by_the_bot_where_the_caller_talked_over_the_greeting(world: World) -> None:
    call, talk = await call_to(world, BAKERY, Judging([ASKS_FOR_A_PERSON], long=1))
    await call.until(lambda: talk.heard_ms_of(noise(1, LONG_MS)) >= 20)
    await call.say(SPEECH)
    await call.until_ended()
    assert call.dialled == ["+97231110009"]
    assert [talk.heard_ms_of(noise(voice, 300)) for voice in (2, 3)] == [300, 300]
    assert [order[order.index("«") :] for order in orders(talk)[-2:]] == [
        f"«{ANNOUNCEMENT}»",
        "«רגע, אני מעבירה אתכם.»",
    ]
    assert call.said == [], "they have heard it"


async def test_whoever_has_heard_the_announcement_is_not_told_again(world: World) -> None:
    call, talk = await call_to(world, BAKERY, Judging([ASKS_FOR_A_PERSON]))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
    await call.say(SPEECH)
    await call.until_ended()
    assert (call.dialled, call.said) == (["+97231110009"], [])
