"""Guards one call's page: in the reader's language, no more than is on record, and no end without a question."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest

import stream_registry
from kav.call.flow import Flow
from kav.call.flow_lock import FlowLock
from kav.records.database import build_engine, parse_url
from kav.records.retention import erase_everywhere
from tests.console.desk import CLINIC, Open, Place, Visitor, going_on, in_language, recorded, shown
from tests.flows.files import SMALL, changed, write


def test_yes_and_no_and_breaches_are_told_in_the_readers_language(place: Place) -> None:
    call_sid = recorded(place, business="locksmith")
    records = place.kav.records
    (flow,) = (flow for flow in place.kav.flows.flows if flow.id == "locksmith")
    (step, *_) = (step for step in flow.steps if step.kind == "yes_no")
    records.save_answer(call_sid, step.id, value="yes", position=2)
    breaches = [("wrong language", "en"), *(("judge", ruling) for ruling in rulings(flow))]
    for number, (what, detail) in enumerate(breaches, 2):
        saved = records.save_breach(call_sid, number, what=what, detail=detail)
    assert saved.wait(5)
    html = in_language(place.operator(), "he").get(f"/console/calls/{call_sid}").text
    assert '<strong dir="auto">כן</strong>' in html
    listed = shown(html.partition('id="breaches"')[2].partition(">")[2].partition("</section>")[0])
    for told in ("דיבר בשפה אחרת משל הלקוח: אנגלית", "ערך שאינו מתאים", "כלי שאינו קיים", "תיקון בלי", "לפני שנשאלה"):
        assert told in listed, told
    assert re.findall("[a-z_]+", listed) == ["dance"], "but for a name that the model made up"


def rulings(flow: Flow) -> Iterator[str]:
    """What the flow's own lock says of judgements that it refuses."""
    asked = FlowLock(flow)
    asked.heard()
    first, last = flow.steps[0].id, flow.steps[-1].id
    for lock, tool, arguments in (
        (FlowLock(flow), "dance", {}),
        (FlowLock(flow), "correct_answer", {"step": last, "value": "x"}),
        (FlowLock(flow), "answer_step", {"step": first, "value": "yes"}),
        (FlowLock(flow), "answer_step", {"step": last, "value": "x"}),
        (asked, "answer_step", {"step": first, "value": ""}),
    ):
        breach = lock.judge(tool, arguments).breach
        assert breach
        yield breach


def test_a_call_is_ended_only_once_that_was_confirmed(place: Place) -> None:
    entry = going_on()
    operator = in_language(place.operator(), "en")
    (asked,) = re.findall(r'<a [^>]*id="end-call" href="([^"]+)"', operator.get("/console/calls/CAlive").text)
    page = operator.get(asked).text
    assert not entry["ended"]
    assert "End this call? +972501234567" in shown(page)
    assert 'href="/console/calls/CAlive"' in page
    assert operator.post(asked).status_code == 303
    assert entry["end_reason"] == "operator"
    assert operator.get(asked).location == "/console/calls/CAlive", "there is nothing to be asked any more"
    assert operator.get("/console/calls/CAnothing/end").status_code == 404


def over(place: Place) -> str:
    """A call that is over and still remembered; what was said in it is on record where that is kept."""
    entry = going_on("CAover")
    talk = entry["conversation"]
    assert talk is not None
    talk.chronicle.caller_turn("item", "name")
    talk.chronicle.caller_words("item", "דנה כהן")
    place.kav.records.save_call("CAover", direction="inbound", business="clinic", from_number=entry["from_number"])
    stream_registry.end("CAover", "goodbye")
    return "/console/calls/CAover"


def test_what_is_over_is_still_told_before_its_record_has_it(place: Place) -> None:
    assert "דנה כהן" in place.operator().get(over(place)).text


def test_who_was_erased_is_gone_from_what_is_remembered_too(place: Place) -> None:
    path = over(place)
    assert place.kav.records.settled(5)
    engine = build_engine(parse_url(place.kav.settings.DATABASE_URL), "write")
    assert erase_everywhere(engine, "+972501234567").calls == 1
    engine.dispose()
    page = in_language(place.operator(), "en").get(path).text
    assert "erased at their request" in page
    assert "דנה כהן" not in page
    assert "+972501234567" not in page


def test_words_that_are_not_kept_are_not_shown_of_a_call_that_is_over(open_console: Open) -> None:
    place = open_console(KAV_STORE_WORDS=False)
    path = over(place)
    assert "דנה כהן" not in place.operator().get(path).text
    going_on("CAlive")
    assert "+972501234567" in place.operator().get("/console/calls/CAlive").text


def steps_of(page: str) -> str:
    return shown(page.partition('id="steps"')[2].partition(">")[2].partition("</section>")[0])


def test_a_step_whose_answer_is_not_kept_was_asked_all_the_same(open_console: Open) -> None:
    place = open_console(KAV_STORE_WORDS=False)
    call_sid = recorded(place, business="clinic")
    (flow,) = (flow for flow in place.kav.flows.flows if flow.id == "clinic")
    saved = place.kav.records.save_answer(call_sid, flow.steps[1].id, unanswered="dont_know", position=2)
    assert saved.wait(5)
    told = steps_of(in_language(place.operator(), "en").get(f"/console/calls/{call_sid}").text)
    assert "דנה" not in told
    assert told.count("Answered; not kept") == 1, "the name"
    assert told.count("Did not know") == 1
    assert told.count("Not asked") == len(flow.steps) - 2


def test_of_a_call_that_was_erased_nothing_is_told_that_nobody_knows_any_more(place: Place) -> None:
    recorded(place)
    engine = build_engine(parse_url(place.kav.settings.DATABASE_URL), "write")
    assert erase_everywhere(engine, "+972501234567").calls == 1
    engine.dispose()
    page = shown(in_language(place.operator(), "en").get("/console/calls/CApast").text)
    assert "erased at their request" in page
    for made_up in ("Not asked", "Nothing has been said", "Side questions", "has not answered anything"):
        assert made_up not in page, made_up
    assert "Interruptions 1" in page


def test_a_call_that_is_over_is_not_told_from_memory_while_its_record_cannot_be_read(
    open_console: Open, tmp_path: Path
) -> None:
    """Nobody can say whether it was erased."""
    place = open_console(records=False, DATABASE_URL=f"sqlite:///{tmp_path / 'nowhere' / 'kav.db'}")
    page = in_language(place.operator(), "en").get(over(place)).text
    assert "The database gives no answer" in page
    assert "Said goodbye" in page
    assert "דנה כהן" not in page
    assert "+972501234567" not in page


def test_what_is_not_known_of_a_call_is_said(place: Place) -> None:
    recorded(place, "CAleft", line_ghost_ms=None, end_reason="caller_hung_up")
    place.kav.records.save_call_status("CAleft", "completed", 75, "inbound")
    place.kav.records.save_recording("CAleft", "RE" + "0" * 32, status="absent")
    assert place.kav.records.save_usage("CAleft", "a model of tomorrow", responses=1).wait(5)
    operator = in_language(place.operator(), "en")
    page = operator.get("/console/calls/CAleft").text
    assert "Line freed within – Kav did not end this call" in shown(page)
    assert "≥ $0.12\u2069 The cost of a part is not known" in shown(page)
    assert "Twilio has no sound of this call." in shown(page)
    assert "<audio" not in page
    assert "The cost of a part is not known" in shown(operator.get("/console/calls").text)
    assert "Calls with a part whose cost is not known: 1" in shown(operator.get("/console/today").text)


RECORDED = replace(CLINIC, recording={"he": "השיחה מוקלטת."})


def test_a_call_that_is_being_recorded_is_not_said_not_to_be(place: Place) -> None:
    entry = going_on("CAlive", RECORDED)
    operator = in_language(place.operator(), "en")
    assert "not recorded" in operator.get("/console/calls/CAlive").text, "Twilio was not told to"
    entry["recorded"] = True
    assert "still being made" in operator.get("/console/calls/CAlive").text
    stream_registry.end("CAlive", "goodbye")
    assert "still being made" in operator.get("/console/calls/CAlive").text


def test_of_a_recording_of_which_nobody_has_told_nothing_is_claimed(open_console: Open, tmp_path: Path) -> None:
    flows = tmp_path / "flows"
    flows.mkdir()
    write(flows, SMALL)
    recorded_one = (
        changed("bakery", "kiosk").replace("0042", "0043") + "recording: {announce: {he: מוקלט., en: Taped.}}\n"
    )
    write(flows, recorded_one, "kiosk.yaml")
    place = open_console(KAV_FLOWS=str(flows))
    records, operator = place.kav.records, in_language(place.operator(), "en")
    for call_sid, business, line, told in (
        ("CAuntold", "kiosk", "twilio", "Twilio has told of no recording"),
        ("CAgone", "a flow that is gone", "twilio", "Twilio has told of no recording"),
        ("CAtest", "kiosk", "browser", "This call was not recorded"),
        ("CAnone", "bakery", "twilio", "This call was not recorded"),
    ):
        saved = records.save_call(call_sid, business=business, line=line, direction="inbound", end_reason="goodbye")
        assert saved.wait(5)
        page = operator.get(f"/console/calls/{call_sid}").text
        assert (told in page, page.count("told of no recording") + page.count("not recorded")) == (True, 1), call_sid


@pytest.mark.parametrize(("language", "told"), [("en", "Twilio's status"), ("he", "מצב אצל Twilio")])
def test_twilio_s_status_is_told_of_telephone_calls_alone(place: Place, language: str, told: str) -> None:
    records, operator = place.kav.records, in_language(place.operator(), language)
    for call_sid, line in (("CAtelephone", "twilio"), ("CAold", None), ("CAtest", "browser")):
        recorded(place, call_sid, line=line)
        assert records.save_call_status(call_sid, "completed", 3, "inbound").wait(5)
    pages = {sid: shown(operator.get(f"/console/calls/{sid}").text) for sid in ("CAtelephone", "CAold", "CAtest")}
    assert [sid for sid, page in pages.items() if told in unescape(page)] == ["CAtelephone", "CAold"]


def test_of_the_recording_of_an_erased_call_nothing_is_said(place: Place) -> None:
    recorded(place)
    engine = build_engine(parse_url(place.kav.settings.DATABASE_URL), "write")
    assert erase_everywhere(engine, "+972501234567").calls == 1
    engine.dispose()
    page = shown(in_language(place.operator(), "en").get("/console/calls/CApast").text)
    assert "Recording" not in page
    assert "recorded" not in page


def line_ghost(operator: Visitor, call_sid: str) -> str:
    page = shown(operator.get(f"/console/calls/{call_sid}").text)
    return page.partition("Line freed within")[2].partition(".")[0]


def test_whose_the_end_was_is_not_claimed_before_twilio_has_told_of_it(place: Place) -> None:
    recorded(place, "CAended", line_ghost_ms=None)
    operator = in_language(place.operator(), "en")
    assert "Not known yet" in line_ghost(operator, "CAended")
    assert place.kav.records.save_call_status("CAended", "completed", 3, "inbound").wait(5)
    assert "Kav did not end this call" in line_ghost(operator, "CAended")


@pytest.mark.parametrize(("seconds_ago", "looks_again"), [(30, True), (90, False)])
def test_the_page_of_a_call_that_has_just_ended_looks_whether_more_is_known(
    place: Place, seconds_ago: int, looks_again: bool
) -> None:
    recorded(place, "CAended", ended_at=datetime.now(UTC) - timedelta(seconds=seconds_ago))
    page = place.operator().get("/console/calls/CAended").text
    assert (" data-settles" in page, "call.js" in page) == (looks_again, looks_again)


def test_a_call_without_an_end_is_followed_also_where_nobody_here_knows_it(place: Place) -> None:
    """Another process may carry it, and Redis may be away."""
    records, operator = place.kav.records, place.operator()
    assert records.save_call("CAelsewhere", direction="inbound", business="clinic").wait(5)
    assert "data-events=" in operator.get("/console/calls/CAelsewhere").text
    assert records.save_call_status("CAelsewhere", "completed", 3, "inbound").wait(5)
    assert "data-events=" not in operator.get("/console/calls/CAelsewhere").text
