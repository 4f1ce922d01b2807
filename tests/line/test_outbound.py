"""A call that Kav places: it speaks from its own flow to whoever answers, and leaves machines alone (Promise 5)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from rehearsal.model import CallTool
from rehearsal.twilio import Callbacks, Callee, CallScript
from rehearsal.world import World
from tests.line.asking import about, ask
from tests.line.ending import ECHOED_S, fin, record
from tests.line.listening import SPEECH, Talk, noise
from tests.line.test_conversation import ASK_S, CLOSE_S, Judging, ended, orders, quiet_world

GREETING_BEGINS = "שלום דנה, מדבר הנציג הדיגיטלי של סולר הגליל."
QUESTION = "אתם עדיין מתעניינים במערכת סולארית?"
MESSAGE = "שלום דנה, כאן הנציג הדיגיטלי של סולר הגליל, בהמשך לפנייה שלכם. נשמח לדבר איתכם. תודה ולהתראות."
SALES = "+97231110003"
DANA = {"name": "דנה"}


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """Short turns, nobody who asks why it is so quiet, and REST that would soon hang up if it did so at all."""
    async with quiet_world(ask_s=30, close_s=60) as world:
        yield world
        assert [notice for call in world.twilio.calls for notice in call.violations] == [], "Kav broke Twilio's rules"


async def called(world: World, *judgements: CallTool, callee: Callee | None = None) -> Talk:
    """Somebody whom Kav has called, and who has heard the greeting with the first question."""
    line = CallScript(callee=callee or Callee())
    call = await world.place_call(Judging(judgements), line, flow="sales", variables=DANA)
    talk = Talk(call, await world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
    return talk


async def detected(talk: Talk, found: str) -> None:
    """Machine detection makes up its mind, when it is told to and not when a clock says so."""
    form = about(talk.call.sid, talk.call.status, AnsweredBy=found)
    await talk.call.webhooks.ask(talk.call.order.detection_url, form)


async def test_whoever_answers_is_greeted_from_the_outbound_flow_with_what_is_known_of_them(world: World) -> None:
    talk = await called(world)
    (greeting,) = orders(talk)
    assert GREETING_BEGINS in greeting
    assert QUESTION in greeting
    assert talk.call.order.from_ == SALES
    await talk.call.hang_up()
    found = await record(world, talk.call.sid, lambda found: found.whole)
    assert (found.call["direction"], found.call["business"]) == ("outbound", "sales")
    assert (found.call["from_number"], found.call["to_number"]) == (SALES, talk.call.order.to)


async def test_the_stream_says_that_it_is_outbound(world: World) -> None:
    talk = await called(world)
    (voice,) = [asked for asked in world.twilio.asked if "outbound-voice" in asked.url and talk.call.sid in str(asked)]
    assert '<Parameter name="direction" value="outbound" />' in voice.body
    await talk.call.hang_up()


async def test_a_call_to_the_closing_ends_when_it_was_heard(world: World) -> None:
    talk = await called(world, CallTool("answer_step", {"step": "interested", "value": False, "language": "he"}))
    await talk.call.say(SPEECH)
    async with asyncio.timeout(10):
        await talk.call.socket.gone()
    assert "תודה על הזמן שלכם, ולהתראות." in orders(talk)[-1]
    await fin(talk.session.peer, talk.call.marks_echoed[-1][0], ECHOED_S)
    assert await ended(world, talk.call) == "goodbye"


@pytest.mark.parametrize("found", ["machine_start", "machine_end_beep"])
async def test_an_answering_machine_gets_the_message_and_nothing_else(world: World, found: str) -> None:
    talk = await called(world, callee=Callee(answered_by="unknown"))
    await detected(talk, found)
    await talk.call.until_reported()
    assert talk.call.said == [MESSAGE]
    assert talk.call.verbs == ["Connect", "Say", "Hangup"]
    assert await ended(world, talk.call) == "machine"
    assert not [asked for asked in world.twilio.rest.requests if talk.call.sid in str(asked)], "nobody cuts the message"


async def test_a_fax_is_hung_up(world: World) -> None:
    talk = await called(world, callee=Callee(answered_by="unknown"))
    await detected(talk, "fax")
    await talk.call.until_reported()
    assert (talk.call.said, talk.call.verbs) == ([], ["Connect", "Hangup"])
    assert await ended(world, talk.call) == "machine"


@pytest.mark.parametrize("found", ["unknown", "human"])
async def test_whoever_may_be_a_person_is_talked_with(world: World, found: str) -> None:
    answers = CallTool("answer_step", {"step": "interested", "value": True, "language": "he"})
    talk = await called(world, answers, callee=Callee(answered_by=found, detected_after_s=0.05))
    await talk.call.say(SPEECH)
    await talk.call.until(lambda: talk.heard_ms_of(noise(2, 300)) == 300)
    assert "באיזה יום נוח שיועץ שלנו יתקשר?" in orders(talk)[-1]
    await talk.call.hang_up()


async def test_a_machine_that_is_found_before_its_call_is_here_gets_the_message_at_once(world: World) -> None:
    callee = Callee(answered_by="machine_start", detected_after_s=0.0)
    call = await world.place_call(Judging([]), CallScript(callee=callee), flow="sales", variables=DANA)
    await call.until_reported()
    assert call.said == [MESSAGE]
    assert await ended(world, call) == "machine"


async def test_a_result_that_comes_after_the_end_changes_nothing(world: World) -> None:
    talk = await called(world, callee=Callee(answered_by="unknown"))
    await talk.call.hang_up()
    await talk.call.until_reported()
    await detected(talk, "machine_start")
    assert await ended(world, talk.call) == "caller_hung_up"
    assert talk.call.said == []


async def test_a_line_on_which_nobody_speaks_is_asked_once_and_closed() -> None:
    async with quiet_world(ASK_S, CLOSE_S) as impatient:
        talk = await called(impatient)
        await talk.call.until_reported()
        assert "אתם עדיין איתי?" in orders(talk)[-1]
        assert talk.heard_ms_of(noise(2, 300)) == 300
        assert await ended(impatient, talk.call) == "silence"


@pytest.mark.parametrize("outcome", ["busy", "no-answer", "failed", "canceled"])
async def test_a_call_that_nobody_answers_is_on_record_and_never_meets_the_model(world: World, outcome: str) -> None:
    call = await world.place_call(line=CallScript(callee=Callee(outcome)), flow="sales", variables=DANA)
    await call.until_reported()
    found = await record(world, call.sid, lambda found: found.call.get("end_reason") is not None)
    assert (found.call["terminal_status"], found.call["end_reason"]) == (outcome, f"call_status_{outcome}")
    assert (found.call["direction"], found.call["business"]) == ("outbound", "sales")
    assert found.streams == []
    assert world.upgrades_of(call) == 0
    await world.kav.ask("POST", "/calls", {"to": call.order.to, "flow": "sales", "variables": DANA, "anytime": True})
    again = await world.twilio.until_called(len(world.twilio.calls))
    assert again.order.to == call.order.to, "the order is forgotten, so the same person may be called again"
    await again.until_reported()


async def test_callbacks_in_any_order_leave_one_record(world: World) -> None:
    line = CallScript(callbacks=Callbacks(copies=2, reversed=True))
    call = await world.place_call(line=line, flow="sales", variables=DANA)
    await call.until_streaming()
    await call.hang_up()
    await call.until_reported()
    found = await record(world, call.sid, lambda found: found.whole)
    assert (found.call["terminal_status"], found.call["direction"]) == ("completed", "outbound")


async def test_who_asks_not_to_be_called_is_told_so_and_is_never_called_again(world: World) -> None:
    talk = await called(world, CallTool("end_call", {"do_not_call": True, "language": "he"}))
    await talk.call.say(SPEECH)
    await talk.call.until_reported()
    assert "המספר הוסר מהרשימה, ולא נתקשר אליו יותר. סליחה על ההפרעה." in orders(talk)[-1]
    body = {"to": talk.call.order.to, "flow": "sales", "variables": DANA, "anytime": True}
    status, said = await world.kav.ask("POST", "/calls", body)
    assert (status, said["error"]["code"]) == (409, "do_not_call")


async def test_an_inbound_caller_who_asks_not_to_be_called_is_listed_by_their_own_number(world: World) -> None:
    asks = CallTool("end_call", {"do_not_call": True, "language": "he"})
    call = await world.call(Judging([asks]), to="+97231110001")
    talk = Talk(call, await world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
    await call.say(SPEECH)
    await call.until_reported()
    status, said = await world.kav.ask("GET", f"/do-not-call/{call.order.from_}")
    assert (status, said["do_not_call"]) == (200, True)


async def test_a_ticket_is_one_call_s_and_may_be_shown_again_by_that_call_alone(world: World) -> None:
    callee = Callee(rings_s=0.5)
    call = await world.place_call(Judging([]), CallScript(callee=callee), flow="sales", variables=DANA)
    (created,) = [asked for asked in world.twilio.rest.requests if asked.form.get("To") == [call.order.to]]
    path = created.form["Url"][0].removeprefix(world.kav.url)
    form = about(call.sid, "in-progress", Direction="outbound-api", From=SALES, To=call.order.to)
    answers = [await ask(world, path, form) for _ in range(2)]
    assert answers[0] == answers[1]
    assert "<Connect" in answers[0].body
    thief = await ask(world, path, form | {"CallSid": "CA" + "f" * 32})
    assert "<Connect" not in thief.body
    assert "<Say" in thief.body, "whoever is on that line hears words"
    await call.hang_up()


@pytest.mark.parametrize("ticket", ["", "?ticket=", "?ticket=guessed"])
async def test_a_call_that_nobody_ordered_hears_an_apology_and_no_flow(world: World, ticket: str) -> None:
    sid = "CA" + "e" * 32
    form = about(sid, "in-progress", Direction="outbound-api", From=SALES, To="+972501234567")
    answer = await ask(world, f"/twilio/outbound-voice{ticket}", form)
    assert answer.status == 200
    assert ("<Say" in answer.body, "<Connect" in answer.body) == (True, False)
    for path in ("machine", "status"):
        quiet = await ask(world, f"/twilio/{path}{ticket}", form | {"AnsweredBy": "machine_start"})
        assert quiet.status == 204


async def test_the_inbound_url_answers_no_call_that_goes_out(world: World) -> None:
    """Neither direction ever sees the other's flow."""
    form = about("CA" + "d" * 32, "in-progress", From="+97231110001", To="+97231110001") | {"Direction": "outbound-api"}
    answer = await ask(world, "/twilio/voice", form)
    assert (answer.status, "<Reject" in answer.body) == (200, True)


async def test_machine_detection_says_nothing_about_a_call_that_came_in(world: World) -> None:
    call = await world.call(Judging([]), to="+97231110001")
    talk = Talk(call, await world.session_of(call))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) > 0)
    await ask(world, "/twilio/machine", about(call.sid, "in-progress", AnsweredBy="machine_start"))
    await call.until(lambda: talk.heard_ms_of(noise(1, 300)) == 300)
    await call.hang_up()
    assert await ended(world, call) == "caller_hung_up"


async def test_what_twilio_did_not_sign_has_no_effect(world: World) -> None:
    talk = await called(world)
    form = about(talk.call.sid, "in-progress", AnsweredBy="machine_start")
    answer = await ask(world, "/twilio/machine", form, headers={"X-Twilio-Signature": "bm8="})
    assert answer.status == 403
    await talk.call.hang_up()
    assert await ended(world, talk.call) == "caller_hung_up"
