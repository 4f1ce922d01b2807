"""Guards the log: every line names its call and is one line; no number whole, no secret at all, whoever wrote it."""

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator

import gevent
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kav import log

CALL = "CA" + "0123456789" * 3 + "ab"


@pytest.fixture
def handler() -> log.QueueHandler:
    handler = log.QueueHandler(secrets=("sk-very-secret", "short"))
    handler.setFormatter(log.JsonFormatter())
    return handler


@pytest.fixture
def logger(handler: log.QueueHandler) -> Iterator[logging.Logger]:
    logger = logging.getLogger("kav.test")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
    yield logger
    logger.propagate = True
    logger.removeHandler(handler)


@pytest.fixture
def tell(
    handler: log.QueueHandler, logger: logging.Logger
) -> Callable[[Callable[[logging.Logger], None]], dict[str, object]]:
    """Logs something and returns the line that came of it."""

    def logged(write: Callable[[logging.Logger], None]) -> dict[str, object]:
        write(logger)
        line = handler.lines.get_nowait()
        assert "\n" not in line
        found: dict[str, object] = json.loads(line)
        return found

    return logged


Tell = Callable[[Callable[[logging.Logger], None]], dict[str, object]]


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+972501234567", "+9725****567"),
        ("+972 50-123 4567", "+9725****567"),
        ("%2B972501234567", "%2B****567"),
        ("972501234567", "972****567"),
        ("0501234567", "050****567"),
        ("050-123 4567", "050****567"),
        ("03-1234567", "031****567"),
        ("050.123.4567", "050****567"),
        ("(050) 123-4567", "050****567"),
        ("050 12 34 567", "050****567"),
        ("+972-(0)50-1234567", "+9720****567"),
        ("00972 50-1234567", "009****567"),
        ("972-50-123-4567", "972****567"),
        ("1-700-123-456", "170****456"),
        ("1-800-123-4567", "180****567"),
    ],
)
def test_a_telephone_number_loses_its_middle(number: str, shown: str) -> None:
    assert log.masked(f"call to {number}, twice: {number}.") == f"call to {shown}, twice: {shown}."


PREFIXES = ("+972", "00972", "972", "+972(0)", "0")
LETTERS = ("", "ל", "מ-", "ב־", "ול-", "של ", "הוא:", "tel:", "(", '"', "tel:+1 is not ", "/")


def in_groups(digits: str, separators: list[str]) -> str:
    """The digits with something, or nothing, after each of the first few."""
    return "".join(digit + separator for digit, separator in zip(digits, [*separators, *([""] * 12)], strict=False))


@given(
    prefix=st.sampled_from(PREFIXES),
    rest=st.from_regex(r"(5[0-9]|7[2-9])[0-9]{7}|[23489][0-9]{7}", fullmatch=True),
    separators=st.lists(st.sampled_from(("", "-", " ", ".", ") ", " - ", "\u2011", "\u05be", "\u00a0")), max_size=7),
    letter=st.sampled_from(LETTERS),
    escaped=st.booleans(),
)
@example("+972", "20053796", [], "הוא:", True)
@example("0", "20053796", [], "הוא:", True)
def test_however_a_number_is_written_and_whatever_letter_is_written_to_it_it_is_masked(
    prefix: str, rest: str, separators: list[str], letter: str, escaped: bool
) -> None:
    written = f"חזרו {letter}{prefix}{in_groups(rest, separators)}, תודה"
    line = json.dumps({"text": written}, ensure_ascii=escaped and not set("".join(separators)) - set(" -.)"))
    assert "****" in log.masked(line), line
    assert rest[2:] not in re.sub(r"[^\d*]", "", log.masked(line)), line


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        f"{CALL}: RE{'1234567890' * 3}12",
        "2026-11-22 10:30:00.123",
        "took 12345 ms",
        "1.23456789012",
        "v1=0123456789ab",
        "2026-11-22T10:30:00.123456+00:00",
        "from 2026-11-01 to 2026-11-30 08:15:02,004",
        "0.0123456789 s, 0.50 to 12.123456789",
        "550e8400-e29b-41d4-a716-446655440000",
        "stream over: goodbye, sockets closed in 1.2 ms",
        "hub 0.0 ms late, 12 calls, 40000 records wait, p95 120 ms, 127.0.0.1:54321",
        '{"event": "database_away", "tries": 12, "waiting": 40000}',
        "usage: 1234 5678 910",
    ],
)
def test_what_is_no_telephone_number_stays(text: str) -> None:
    assert log.masked(text) == text


def test_a_line_of_the_greenlet_that_works_for_a_call_names_it(tell: Tell) -> None:
    def work(call_sid: str) -> object:
        log.about(call_sid)
        gevent.sleep(0)  # the others say theirs meanwhile
        return tell(lambda logger: logger.info("x"))["call_sid"]

    greenlets = [gevent.spawn(work, call_sid) for call_sid in ("CA1", "CA2", "")]
    assert [greenlet.get(timeout=5) for greenlet in greenlets] == ["CA1", "CA2", "-"]
    assert tell(lambda logger: logger.info("x"))["call_sid"] == "-"


def test_the_call_that_a_line_names_itself_goes_before(tell: Tell) -> None:
    def work() -> object:
        log.about(CALL)
        return tell(lambda logger: logger.info("x", extra={"call_sid": "CA2"}))["call_sid"]

    assert gevent.spawn(work).get(timeout=5) == "CA2"


def test_numbers_and_secrets_are_left_out_of_messages_and_tracebacks(tell: Tell) -> None:
    def write(logger: logging.Logger) -> None:
        try:
            raise ValueError("key sk-very-secret of +972501234567")
        except ValueError:
            logger.exception("failed for %s with %s", "+972501234567", "sk-very-secret")

    line = tell(write)
    assert line["message"] == "failed for +9725****567 with [secret]"
    assert "ValueError: key [secret] of +9725****567" in str(line["exception"])
    assert "sk-very-secret" not in json.dumps(line)


def test_a_stranger_cannot_begin_a_line_of_their_own(
    tell: Tell, handler: log.QueueHandler, logger: logging.Logger
) -> None:
    assert tell(lambda logger: logger.info("a\nb\x1b[31m", extra={"call_sid": "x\ny"})) | {"time": ""} == {
        "time": "",
        "level": "INFO",
        "logger": "kav.test",
        "call_sid": "x y",
        "message": "a b [31m",
    }
    handler.setFormatter(logging.Formatter("%(call_sid)s %(message)s"))
    logger.info("a\nb")
    assert handler.lines.get_nowait() == "- a b"


def test_a_record_that_could_not_be_saved_is_an_object_of_its_own(tell: Tell) -> None:
    line = tell(lambda logger: logger.error(json.dumps({"event": "record_lost", "kind": "turns"})))
    assert (line["message"], line["data"]) == ("record_lost", {"event": "record_lost", "kind": "turns"})


def test_a_reader_that_is_stuck_costs_lines_and_never_time(handler: log.QueueHandler, logger: logging.Logger) -> None:
    for _ in range(log.MAX_LINES + 5):
        logger.info("x")
    assert (handler.lines.qsize(), handler.dropped) == (log.MAX_LINES, 5)


def test_what_is_to_be_kept_has_room_when_nothing_else_has(handler: log.QueueHandler, logger: logging.Logger) -> None:
    for _ in range(log.MAX_LINES):
        logger.info("x")
    for _ in range(log.MAX_KEPT - log.MAX_LINES + 3):
        logger.info("lost", extra={"keep": True})
    assert (handler.lines.qsize(), handler.dropped) == (log.MAX_KEPT, 3)


class Bad:
    """What cannot be put into words."""

    def __str__(self) -> str:
        raise ValueError


def test_what_is_kept_is_written_as_clean_as_all_else_and_one_bad_line_ends_no_other(
    handler: log.QueueHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    for message in ("first", Bad(), "sk-very-secret of +972501234567\nsecond"):
        handler.handle(logging.makeLogRecord({"msg": message, "keep": True}))
    threading.Thread(target=handler.write, daemon=True).start()
    handler.drain(5)
    first, bad, second = written.getvalue().splitlines()
    assert [json.loads(line)["message"] for line in (first, second)] == ["first", "[secret] of +9725****567 second"]
    assert bad == "a line could not be put into words: ValueError"
