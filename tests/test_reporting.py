"""Guards what becomes of a call when it is over: counted once, told as heard, its words logged only if wanted."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import realtime_prompt_builder as prompt
import stream_registry
from call_aftermath import Aftermath
from kav import metrics
from kav.after_call import AfterCall, report_of
from kav.call.conversation import Conversation
from kav.call.flow import Flow
from kav.flow_files import read_flow
from kav.records import Records
from kav.settings import Settings
from kav.wire.twilio_rest import TwilioRest
from stream_registry import Entry
from tests.flows.files import SMALL, write

OWNER = "owner: {sms: +972509876543, language: en}\n"


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    return read_flow(write(tmp_path, SMALL + OWNER))


@pytest.fixture
def entry(flow: Flow) -> Iterator[Entry]:
    """A call in which bread was asked for and answered, and that the caller has ended."""
    entry = stream_registry.register(
        "CA_reported", direction="inbound", flow=flow, from_number="+972501234567", to_number="+97231110042"
    )
    talk = entry["conversation"] = Conversation(flow, prompt.load_phrases().texts, "+972501234567")
    talk.chronicle.spoke("resp_1", "item_1", 8000, "phrase", "greeting", "he")
    talk.chronicle.words("resp_1", "איזה לחם אפשר להציע לכם היום?", "bread")
    talk.chronicle.cut("item_1", 500)
    talk.chronicle.caller_turn("item_2", "bread")
    talk.chronicle.caller_words("item_2", "שחור, בבקשה")
    talk.lock.heard()
    talk.lock.judge("answer_step", {"step": "bread", "value": "שחור"})
    entry["streamed_at"] = entry["created_at"]
    stream_registry.end("CA_reported", "caller_hung_up")
    entry["terminal_at"] = entry["ended_at"]
    yield entry
    stream_registry.registry.pop("CA_reported", None)


def aftermath(records: Records, **settings: bool) -> Aftermath:
    made = Settings(_env_file=None, **settings)  # type: ignore[call-arg, arg-type]  # pydantic-settings' own argument, and one setting by name
    rest = TwilioRest(made)
    return Aftermath(made, records, rest, AfterCall(made, records, rest))


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(f"sqlite:///{tmp_path / 'kav.db'}")


def test_the_report_has_what_was_heard_and_what_was_answered(entry: Entry) -> None:
    report = report_of(entry)
    assert (report.own_number, report.other_number) == ("+97231110042", "+972501234567")
    assert [(said.who, said.text) for said in report.talk] == [("bot", "איזה לחם אפשר"), ("caller", "שחור, בבקשה")]
    assert [(given.step, given.question, given.value) for given in report.answers] == [("bread", "איזה לחם?", "שחור")]
    assert (report.wants_summary, report.flow_done, report.end_reason) == (True, False, "caller_hung_up")


def test_nobody_is_told_of_a_test_call_from_the_browser(entry: Entry) -> None:
    entry["line"] = "browser"
    assert report_of(entry).owner is None


def test_a_call_is_counted_once_however_often_one_looks(entry: Entry, records: Records) -> None:
    labels = {"direction": "inbound", "flow": "bakery", "end_reason": "caller_hung_up"}
    before = metrics.REGISTRY.get_sample_value("kav_calls_total", labels) or 0.0
    looking = aftermath(records)
    looking.look()
    looking.look()
    assert metrics.REGISTRY.get_sample_value("kav_calls_total", labels) == before + 1
    assert entry["call_sid"] == "CA_reported"


def test_a_test_call_from_the_browser_is_counted_apart(entry: Entry, records: Records) -> None:
    entry["line"] = "browser"

    def counted(flow: str) -> float:
        labels = {"direction": "inbound", "flow": flow, "end_reason": "caller_hung_up"}
        return metrics.REGISTRY.get_sample_value("kav_calls_total", labels) or 0.0

    before = counted("bakery"), counted("browser")
    turns = metrics.REGISTRY.get_sample_value("kav_turns_total", {"who": "caller"}) or 0.0
    aftermath(records).look()
    assert (counted("bakery"), counted("browser")) == (before[0], before[1] + 1)
    assert (metrics.REGISTRY.get_sample_value("kav_turns_total", {"who": "caller"}) or 0.0) == turns


@pytest.mark.parametrize("wanted", [False, True])
def test_words_are_logged_only_where_they_are_asked_for(
    entry: Entry, records: Records, caplog: pytest.LogCaptureFixture, wanted: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    aftermath(records, LOG_WORDS=wanted).look()
    assert ("caller: שחור, בבקשה" in caplog.text) is wanted
    assert ("שחור" in caplog.text) is wanted
    assert entry["ended"]
