"""Logging that never waits: a line is put on a queue, and a native thread writes it.

A greenlet that wrote to a full pipe would hold up every call of the process. Every line names its call, if only with
`-`; telephone numbers lose their middle and secrets their place in it, whoever wrote them.

    log.init("INFO", as_json=True, secrets=("sk-...",))      # once, at boot
    log.about("CA...")                                       # what this greenlet logs from now on is about that call
"""

import json
import logging
import queue
import re
import sys
import time
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

from gevent import monkey

MAX_LINES: Final = 10_000
"""Lines that may wait for a stuck reader; what comes beyond them is counted and dropped."""

DRAIN_S: Final = 1.0
"""How long the last lines may take to be written."""

MAX_CALL_SID: Final = 64

SHORTEST_SECRET: Final = 8
"""Characters: shorter ones would blot out words."""

_NO_CONTROL: Final = dict.fromkeys((*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029), " ")
"""What strangers send may stand in a line, and may not begin one of its own."""

_SEPARATOR: Final = r"[ ().\-\u00a0\u2010-\u2013\u05be]"
_NEXT: Final = rf"{_SEPARATOR}{{0,3}}\d"
_LETTER: Final = r"\\u[0-9a-fA-F]{4}"
"""A letter that no ASCII has, as it stands in a JSON text."""

_BEFORE: Final = (
    r"(?:(?<![A-Za-z\d_+])(?<!\d[.:-])(?<![0-9a-fA-F]{4}-)"  # no part of an id, a time, a fraction
    rf"|(?<={_LETTER})|(?<={_LETTER}[-:.])|(?<=\\[nrt]))"
)
_AFTER: Final = r"(?![A-Za-z\d_])(?!\.\d)"

_NUMBER: Final = re.compile(
    rf"{_BEFORE}(?:"
    rf"(?:\+|%2[Bb])\d{{9,15}}{_AFTER}|"  # +972501234567, whatever number follows
    rf"(?:\+|%2[Bb])[ ]?\d(?:{_NEXT}){{6,14}}"  # +972 (0)50-123 4567
    rf"|\(?00[1-9](?:{_NEXT}){{8,14}}"  # 00972 50 1234567
    rf"|\(?0[1-9](?:{_NEXT}){{7,9}}"  # 0501234567, 050-123 4567, (03) 123.4567, 050 12 34 567
    rf"|\(?972(?:{_NEXT}){{8,9}}"
    r"|1-?[5-9]\d\d-\d{3}-\d{3,4}"  # 1-700-123-456
    r"|\d{9,15}"
    rf"){_AFTER}"
)
"""A telephone number, also behind a Hebrew letter that is written to it (מ0501234567, ל-0501234567).

A CallSid's digits are none, for Latin letters stand beside them, nor are dates, times and fractions.
"""

_call_sid: ContextVar[str] = ContextVar("call_sid", default="-")
"""Every greenlet has its own; one that is spawned begins with none."""

_start_native_thread = monkey.get_original("_thread", "start_new_thread")
_NativeQueue = monkey.get_original("queue", "SimpleQueue")


def about(call_sid: str) -> None:
    """Say which call this greenlet works for; nothing: none."""
    _call_sid.set(call_sid or "-")


def masked(text: str) -> str:
    """Return a text whose telephone numbers have lost their middle: +9725****567."""
    return _NUMBER.sub(_mask, text)


def _mask(found: "re.Match[str]") -> str:
    digits = re.sub(_SEPARATOR, "", found[0])
    return f"{digits[: 5 if digits.startswith('+') else 3]}****{digits[-3:]}"


class QueueHandler(logging.Handler):
    """Formats a record and hands it over."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self.lines: queue.SimpleQueue[str] = _NativeQueue()
        self.dropped = 0
        self._secrets = tuple(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)
        self.addFilter(self._complete)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line."""
        if self.lines.qsize() >= MAX_LINES:
            self.dropped += 1
            return
        self.lines.put(self.format(record))

    def _complete(self, record: logging.LogRecord) -> bool:
        """Name the record's call, and leave out what no log may hold."""
        record.call_sid = str(getattr(record, "call_sid", None) or _call_sid.get())[:MAX_CALL_SID].translate(
            _NO_CONTROL
        )
        record.msg, record.args = self._clean(record.getMessage()).translate(_NO_CONTROL), None
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = self._clean(_FORMATTER.formatException(record.exc_info))
        return True

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return masked(text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, call_sid, message; exception where there is one.

    A message that is a JSON object itself, such as a record that could not be saved, stands under `data`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        message = str(record.msg)
        data = _object(message) if message.startswith("{") else None
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "call_sid": record.__dict__["call_sid"],
        }
        line |= {"message": message} if data is None else {"message": str(data.get("event", "")), "data": data}
        if record.exc_text:
            line["exception"] = record.exc_text
        return json.dumps(line, ensure_ascii=False)


def _object(text: str) -> dict[str, object] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


_FORMATTER: Final = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(call_sid)s %(message)s")


def _write(lines: "queue.SimpleQueue[str]") -> None:
    while True:
        sys.stderr.write(lines.get() + "\n")
        sys.stderr.flush()


def drain() -> None:
    """Wait a moment for the lines that are still queued; called once, at the end."""
    until = time.monotonic() + DRAIN_S
    while any(not handler.lines.empty() for handler in _handlers()) and time.monotonic() < until:
        time.sleep(0.01)


def dropped() -> int:
    """Return how many lines were lost because nobody read them."""
    return sum(handler.dropped for handler in _handlers())


def _handlers() -> list[QueueHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, QueueHandler)]


def init(level: str, *, as_json: bool = False, secrets: Iterable[str] = ()) -> None:
    """Send all logging through the queue; called once, at boot. `secrets` never stand in a line."""
    handler = QueueHandler(secrets)
    handler.setFormatter(JsonFormatter() if as_json else _FORMATTER)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("websockets", "httpx2", "httpcore2", "openai", "urllib3"):  # they note every request and close
        logging.getLogger(name).setLevel(logging.WARNING)
    _start_native_thread(_write, (handler.lines,))
