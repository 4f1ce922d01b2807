"""Guards the console's pages: they show what is on record, in both languages, whatever was said, and soon."""

import re
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import insert

from kav.console.charts import hour_begins
from kav.console.query import begin_of
from kav.console.scripts import Scripts
from kav.flow_files import load_flows
from kav.records.database import build_engine, parse_url
from kav.records.figures import MOST_MEASURED
from kav.records.models import CALLS
from tests.console.desk import Open, Place, going_on, in_language, recorded, shown
from tests.flows.files import SMALL, changed, write

PAGES = ("/console/", "/console/calls", "/console/calls/CApast", "/console/today", "/console/flows")
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}\u202e"


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(("code", "attributes"), [("he", 'lang="he" dir="rtl"'), ("en", 'lang="en" dir="ltr"')])
def test_every_page_is_in_both_languages(place: Place, path: str, code: str, attributes: str) -> None:
    recorded(place)
    answer = in_language(place.operator(), code).get(path)
    assert answer.status_code == 200
    assert attributes in answer.text


def test_the_browser_chooses_the_language_until_the_operator_does(place: Place) -> None:
    operator = place.operator()
    assert 'lang="he"' in operator.get("/console/", headers={"Accept-Language": "fr"}).text
    assert 'lang="en"' in operator.get("/console/", headers={"Accept-Language": "en-GB,en;q=0.9"}).text
    in_language(operator, "he")
    assert 'lang="he"' in operator.get("/console/", headers={"Accept-Language": "en"}).text


@pytest.mark.parametrize(("key", "billed"), [("", False), ("sk-real", True)])
def test_the_phone_says_that_the_model_is_billed_where_it_is(open_console: Open, key: str, *, billed: bool) -> None:
    operator = in_language(open_console(KAV_REHEARSAL=True, OPENAI_API_KEY=key).operator(), "en")
    page = operator.get("/console/phone").text
    assert ("nothing is billed" in page) is not billed
    assert ("own use is billed" in page) is billed


def test_a_calls_page_tells_all_that_is_on_record(place: Place) -> None:
    text = shown(in_language(place.operator(), "en").get(f"/console/calls/{recorded(place)}").text)
    for told in (
        *("שלום, כאן הנציגה.", "השעה שלוש.", "Interrupted after 1.2 s of 3.0 s", "Side question", "Now in English"),
        *(
            "דנה",
            "free_slots",
            "The resume phrase was missing",
            "$0.12",
            "Said goodbye",
            "1.5 ms",
            "700 ms",
            "1:10, both voices",
        ),
    ):
        assert told in text
    assert re.search(r"not heard: *רוצה שנמשיך\?", text)


def test_a_step_is_told_by_its_question_and_never_by_its_id_alone(place: Place) -> None:
    call_sid = recorded(place)
    place.kav.records.save_answer(call_sid, "message", value="להתקשר אליי", position=2)
    place.kav.records.save_answer(call_sid, "shoe_size", value="43", position=3)
    assert place.kav.records.save_breach(call_sid, 2, what="question not asked", detail="visitor").wait(5)
    text = shown(in_language(place.operator(), "he").get(f"/console/calls/{call_sid}").text)
    for told in (
        *("ההודעה שהלקוח משאיר להתקשר אליי", "שאלה שכבר אינה בתסריט shoe_size 43"),
        "השאלה לא נשאלה זה ביקור ראשון אצלנו, או שכבר הייתם כאן?",
    ):
        assert told in text, told
    assert "visitor" not in text


@pytest.mark.parametrize(("path", "cost"), [("calls", "$0.123"), ("calls/CApast", "$0.12"), ("today", "$0.12")])
@pytest.mark.parametrize("code", ["en", "he"])
def test_a_cost_that_lacks_a_part_is_seen_to_be_the_least_that_it_is(
    place: Place, path: str, cost: str, code: str
) -> None:
    sid, operator = recorded(place), in_language(place.operator(), code)
    assert "≥" not in operator.get(f"/console/{path}").text
    assert place.kav.records.save_usage(sid, "a model of tomorrow", responses=1).wait(5)
    assert f"\u2066≥ {cost}\u2069" in operator.get(f"/console/{path}").text


def test_why_a_cost_is_the_least_that_it_is_is_said(place: Place) -> None:
    sid, operator = recorded(place), in_language(place.operator(), "en")
    assert place.kav.records.save_usage(sid, "a model of tomorrow", responses=1).wait(5)
    for path in ("calls", f"calls/{sid}"):
        assert "The cost of a part is not known; it is not in here." in operator.get(f"/console/{path}").text
    assert "Calls with a part whose cost is not known: 1" in operator.get("/console/today").text


def test_every_measure_of_a_call_is_explained_where_it_stands(place: Place) -> None:
    text = shown(in_language(place.operator(), "en").get(f"/console/calls/{recorded(place)}").text)
    assert "Connections closed within 1.5 ms How long after a call&#39;s end the connections" in text
    assert "answered after 700 ms" in text
    assert "Understanding (s) Until heard (s) 0:04 0.30 0.70" in text


def test_the_picture_of_a_call_has_a_name_and_the_same_as_a_table(place: Place) -> None:
    html = place.operator().get(f"/console/calls/{recorded(place)}").text
    assert 'role="img" aria-labelledby="timeline-name timeline-told"' in html
    assert html.count('class="bar ') == 5, "two of the caller's, one whole and one cut of the bot's"
    assert "<details" in html
    (strokes,) = re.findall(r'class="so-far" d="([^"]+)"', html)
    assert strokes.count("M") == 2, "the marks of the greeting"
    assert "0.25, 1.05" in shown(html)


def test_what_was_said_is_shown_and_never_run(place: Place) -> None:
    call_sid = recorded(place, business=HOSTILE[:60], from_number=HOSTILE)
    records = place.kav.records
    records.save_turn(call_sid, 9, who="caller", kind="caller", text=HOSTILE, at_ms=1)
    records.save_turn(call_sid, 10, who="bot", kind="speak", text=HOSTILE, heard="", heard_ms=0, audio_ms=9, at_ms=2)
    records.save_answer(call_sid, HOSTILE[:40], value=HOSTILE)
    records.save_breach(call_sid, 2, what=HOSTILE[:60], detail=HOSTILE)
    records.save_tool_call(call_sid, "t2", name=HOSTILE[:60], arguments=HOSTILE, output=HOSTILE)
    assert records.save_call(call_sid, summary=HOSTILE, end_reason=HOSTILE[:60]).wait(5)
    going_on("CAlive")["from_number"] = HOSTILE
    operator = place.operator()
    for path in (*PAGES, "/console/calls/CAlive", f"/console/calls?{urlencode({'number': HOSTILE})}"):
        html = operator.get(path).text
        assert "<script>" not in html
        assert "<img" not in html
        assert HOSTILE not in html


def test_a_call_that_goes_on_is_shown_and_can_be_ended(place: Place) -> None:
    entry = going_on()
    talk = entry["conversation"]
    assert talk is not None
    talk.chronicle.caller_turn("item", "name")
    talk.chronicle.caller_words("item", "דנה כהן")
    operator = in_language(place.operator(), "en")
    page = operator.get("/console/calls/CAlive").text
    assert "דנה כהן" in page
    assert 'aria-current="step"' in page
    assert operator.post("/console/calls/CAlive/end").location == "/console/calls/CAlive"
    assert entry["end_reason"] == "operator"
    assert "Ended by an operator" in operator.get("/console/").text
    assert operator.post("/console/calls/CAnothing/end").status_code == 404


def test_a_call_that_nobody_knows_is_not_found(place: Place) -> None:
    assert place.operator().get("/console/calls/CAnothing").status_code == 404


def test_without_its_database_the_console_says_so_and_shows_live_calls(open_console: Open, tmp_path: Path) -> None:
    place = open_console(records=False, DATABASE_URL=f"sqlite:///{tmp_path / 'nowhere' / 'kav.db'}")
    going_on()
    operator = in_language(place.operator(), "en")
    assert "+972501234567" in operator.get("/console/").text
    assert "+972501234567" in operator.get("/console/calls/CAlive").text
    for path in ("/console/calls", "/console/today", "/console/calls/CApast"):
        answer = operator.get(path)
        assert (answer.status_code, "The database gives no answer" in answer.text) == (503, True)


# The list


def test_the_list_leaves_only_what_was_asked_for(place: Place) -> None:
    recorded(place, "CAone")
    recorded(place, "CAtwo", business="sales", direction="outbound", to_number="+972509999999", end_reason="silence")
    operator, today = place.operator(), datetime.now(ZoneInfo("Asia/Jerusalem")).date()
    for asked in (
        *({"business": "sales"}, {"direction": "outbound"}, {"end_reason": "silence"}),
        *({"number": "050-999 9999"}, {"number": "+972509999999", "since": str(today), "until": str(today)}),
    ):
        html = operator.get(f"/console/calls?{urlencode(asked)}").text
        assert ("CAtwo" in html, "CAone" in html) == (True, False), asked
    assert "CAtwo" not in operator.get(f"/console/calls?since={today + timedelta(days=1)}").text


@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(("business", "direction", "number", "end_reason", "line", "since", "until")),
        st.text(max_size=40),
    )
)
def test_a_filter_that_makes_no_sense_is_no_error(place: Place, asked: dict[str, str]) -> None:
    assert place.operator().get(f"/console/calls?{urlencode(asked)}").status_code == 200


def test_ten_thousand_calls_page_in_under_100_ms(place: Place) -> None:
    began_at = datetime(2026, 11, 23, tzinfo=UTC)
    rows = [
        {
            "call_sid": f"CA{number:032x}", "business": "clinic", "direction": "inbound", "end_reason": "goodbye",
            "from_number": f"+9725{number:08}", "updated_at": began_at,
            "created_at": began_at + timedelta(seconds=number),
        }
        for number in range(10_000)
    ]  # fmt: skip
    with build_engine(parse_url(place.kav.settings.DATABASE_URL), "write").begin() as connection:
        connection.execute(insert(CALLS), rows)
    seen: set[str] = set()
    operator, path = place.operator(), "/console/calls?business=clinic"
    for _ in range(4):
        took = []
        for _ in range(3):
            began = time.perf_counter()
            html = operator.get(path).text
            took.append(time.perf_counter() - began)
        assert min(took) < 0.1, took
        found = set(re.findall(r'href="/console/calls/(CA\w+)"', html))
        assert len(found) == 50
        assert not seen & found
        seen |= found
        (path,) = re.findall(r'rel="next" href="([^"]+)"', html)
        path = path.replace("&amp;", "&")


# A day's figures


def test_a_days_figures_add_up(place: Place) -> None:
    recorded(place, "CAone")
    recorded(place, "CAtwo", direction="outbound", flow_done=False, end_reason="silence")
    text = shown(in_language(place.operator(), "en").get("/console/today").text)
    for told in (
        *("Calls that ended 2", "Calls in all: 2; inbound: 1; outbound: 1.", "Calls going on now 0"),
        *("Completed flows 1 50 % of the calls that ended", "Cost of the models $0.25", "Interruptions 2"),
        *("Connections closed within 1.5 ms", "Line freed within 40 ms", "Wait for the first word 150 ms"),
        *("Wait for an answer 700 ms", "Bot falls silent within 4.2 ms"),
        *("Half of them (2) took less, 95 % at most 4.2 ms, the longest 4.2 ms.", "Said goodbye", "Silent line"),
    ):
        assert told in text, told


def test_calls_that_go_on_are_told_apart_from_those_that_ended(place: Place) -> None:
    recorded(place, "CAone")
    recorded(place, "CAtwo", flow_done=False, end_reason="silence")
    recorded(place, "CAlive", end_reason=None)
    text = shown(in_language(place.operator(), "en").get("/console/today").text)
    for told in (
        *("Calls that ended 2 Calls in all: 3;", "Calls going on now 1 They do not count as ended"),
        *(
            "Completed flows 1 50 % of the calls that ended and whose flow asks something (2)",
            "$0.37 $0.12 of it for calls that go on",
        ),
        *("Calls that ended: 2, Calls going on now: 1", "Calls that go on are measured too"),
    ):
        assert told in text, told


def test_an_end_leads_to_as_many_calls_as_were_counted(place: Place) -> None:
    """Tests from the browser do not count, nor calls of a time when there were none."""
    recorded(place, "CAtelephone", line="twilio")
    recorded(place, "CAtest", line="browser")
    recorded(place, "CAold", line=None)
    operator = in_language(place.operator(), "en")
    row = re.search(
        r'<a href="([^"]+)">Said goodbye</a></th><td class="amount">(\d+)<', operator.get("/console/today").text
    )
    assert row is not None
    listed = operator.get(row[1].replace("&amp;", "&")).text
    assert set(re.findall(r'href="/console/calls/(CA\w+)"', listed)) == {"CAtelephone", "CAold"}
    assert row[2] == "2"
    assert '<option value="twilio" selected>Telephone</option>' in listed
    assert "CAold" not in operator.get("/console/calls?line=browser").text


def test_a_bar_of_one_call_among_very_many_is_drawn_all_the_same(place: Place) -> None:
    """A height below zero is an error that draws nothing."""
    now = datetime.now(UTC)
    for number in range(60):
        place.kav.records.save_call(f"CA{number}", created_at=now, end_reason="goodbye")
    assert place.kav.records.save_call("CAlive", created_at=now).wait(5)
    chart = place.operator().get("/console/today").text
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([^"]+)"', chart)]
    assert len(heights) == 2
    assert min(heights) > 0


def test_a_day_of_very_many_calls_says_of_which_of_them_its_spreads_are(place: Place) -> None:
    today, began_at = MOST_MEASURED + 1, datetime.now(UTC)
    rows = [
        {"call_sid": f"CA{number}", "created_at": began_at, "updated_at": began_at, "socket_ghost_ms": 2.0}
        for number in range(today)
    ]
    with build_engine(parse_url(place.kav.settings.DATABASE_URL), "write").begin() as connection:
        connection.execute(insert(CALLS), rows)
    text = shown(in_language(place.operator(), "en").get("/console/today").text)
    assert f"Calls in all: {today};" in text
    assert f"Calls going on now {today}" in text
    assert "Half of the latest 20,000 took less, 95 % at most 2.0 ms, the longest of them 2.0 ms." in text
    assert re.search(rf"\d\d:00: Calls that ended: 0, Calls going on now: {today}", text)


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        (date(2026, 11, 23), "Asia/Jerusalem", list(range(24))),
        (date(2026, 3, 27), "Asia/Jerusalem", [0, 1, *range(3, 24)]),
        (date(2026, 10, 25), "Asia/Jerusalem", list(range(24))),
        (date(2026, 11, 23), "Asia/Kathmandu", list(range(24))),
        (date(2026, 4, 5), "Australia/Lord_Howe", list(range(24))),
    ],
)
def test_the_hours_of_a_day_are_those_of_its_clocks(day: date, zone: str, hours: list[int]) -> None:
    since, until = (begin_of(each, ZoneInfo(zone)) for each in (day, day + timedelta(days=1)))
    begins = hour_begins(since, until, ZoneInfo(zone))
    assert [hour for _, hour in begins] == hours
    assert all(at.astimezone(ZoneInfo(zone)).hour == hour for at, hour in begins)
    assert all(at.astimezone(ZoneInfo(zone)).minute == 0 for at, _ in begins)


def test_a_call_stands_in_the_hour_in_which_it_came_by_the_clocks_of_the_business(open_console: Open) -> None:
    """Clocks are put back: one o'clock is there twice, and its last quarter is an hour and three quarters after one."""
    place = open_console(KAV_TIMEZONE="Asia/Jerusalem")
    for sid, at in (("CAone", "2026-10-24T23:45Z"), ("CAtwo", "2026-10-24T22:00Z"), ("CAlive", "2026-10-25T00:15Z")):
        end = None if sid == "CAlive" else "goodbye"
        saved = place.kav.records.save_call(sid, created_at=datetime.fromisoformat(at), end_reason=end)
    assert saved.wait(5)
    text = shown(in_language(place.operator(), "en").get("/console/today?day=2026-10-25").text)
    assert "01:00: Calls that ended: 2; 02:00: Calls that ended: 0, Calls going on now: 1" in text


def test_a_call_without_questions_is_no_part_of_the_share_that_was_completed(place: Place) -> None:
    recorded(place, "CAone")
    recorded(place, "CAtwo", flow_done=None)
    text = shown(in_language(place.operator(), "en").get("/console/today").text)
    assert "Calls that ended 2" in text
    assert "Completed flows 1 100 % of the calls that ended and whose flow asks something (1)" in text


def test_a_call_whose_status_alone_is_known_does_not_go_on(place: Place) -> None:
    recorded(place, "CAstranger", end_reason=None)
    assert place.kav.records.save_call_status("CAstranger", "completed", 3, "inbound").wait(5)
    assert "Calls going on now 0" in shown(in_language(place.operator(), "en").get("/console/today").text)


@pytest.mark.parametrize(
    ("code", "written"), [("he", "יום שבת, 29 בפברואר 2020"), ("en", "Saturday, 29 February 2020")]
)
def test_a_day_without_calls_says_so_and_which_it_is(place: Place, code: str, written: str) -> None:
    recorded(place)
    html = in_language(place.operator(), code).get("/console/today?day=2020-02-29").text
    assert f'<h1><time datetime="2020-02-29">{written}</time></h1>' in html
    assert ("No calls on this day" if code == "en" else "אין שיחות ביום הזה") in html


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
def test_today_is_dated_in_the_zone_of_the_business(open_console: Open, zone: str) -> None:
    """At any moment it is another day in one of these than in the other."""
    operator = in_language(open_console(KAV_TIMEZONE=zone).operator(), "en")
    before = datetime.now(ZoneInfo(zone)).date()
    heading = operator.get("/console/today").text.partition("<h1>")[2].partition("</h1>")[0]
    assert "Today" in heading
    days = {before, datetime.now(ZoneInfo(zone)).date()}
    assert any(f'{day.isoformat()}">{day:%A}, {day.day} {day:%B} {day.year}</time>' in heading for day in days)


@pytest.mark.parametrize("day", ["", "nonsense", "9999-12-31", "0001-01-01", "2026-02-30"])
def test_a_day_that_makes_no_sense_is_today(place: Place, day: str) -> None:
    assert place.operator().get(f"/console/today?day={day}").status_code == 200


# Flow files


def test_the_flow_files_are_shown_as_they_run(place: Place) -> None:
    operator = in_language(place.operator(), "en")
    listed = operator.get("/console/flows").text
    assert re.search(r"<th[^>]*>State</th>", listed)
    assert listed.count("In use") == len(load_flows().flows)
    page = operator.get("/console/flows/clinic.yaml").text
    assert "זה ביקור ראשון אצלנו" in page
    assert 'id="line-1"' in page
    assert "leads to question 3 לאיזה טיפול לקבוע" in shown(page), "a branch names the question, not its id"
    assert operator.get("/console/flows/nothing.yaml").status_code == 404
    assert operator.get("/console/flows/..%2Fapp.py").status_code == 404


def test_what_is_wrong_with_a_file_reads_from_left_to_right_among_hebrew_words(
    open_console: Open, tmp_path: Path
) -> None:
    """Kav says it in English; its quotes and brackets stay where they are."""
    flows = tmp_path / "flows"
    flows.mkdir()
    write(flows, SMALL)
    place = open_console(KAV_FLOWS=str(flows))
    write(flows, changed("answer: yes_no", "answer: yes_or_no"), "cafe.yaml")
    page = in_language(place.operator(), "he").get("/console/flows/cafe.yaml").text
    (told,) = re.findall(r'<li><a href="#line-14">שורה 14</a> <span dir="ltr" lang="en">(.*?)</li>', page)
    assert shown(told).strip() == ("steps[sliced].answer `yes_or_no` is not possible here. did you mean `yes_no`")


def test_a_file_is_checked_whenever_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "bakery.yaml"
    file.write_text(SMALL, encoding="utf-8")
    scripts = Scripts(load_flows(tmp_path), tmp_path)
    (script,) = scripts.look()
    assert (script.running, script.faults) == (True, ())
    file.write_text(SMALL.replace("לפרוס?", "לחתוך?"), encoding="utf-8")
    (script,) = scripts.look()
    assert (script.running, script.faults) == (False, ())
    file.write_text(SMALL.replace("answer: name", "answer: nmae"), encoding="utf-8")
    (script,) = scripts.look()
    assert script.flow is None or script.faults
    assert "nmae" in script.faults[0].what
    assert scripts.look() is scripts.look(), "what has not changed is not read again"
