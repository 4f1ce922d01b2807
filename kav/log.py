"""Logging that never waits: a line is put on a queue, and a native thread writes it.

A greenlet that wrote to a full pipe would hold up every call of the process. Every line names its call, if only with
`-`; telephone numbers lose their middle and secrets their place in it, whoever wrote them.

    log.init("INFO", as_json=True, secrets=("sk-...",))      # once, at boot
    log.about("CA...")                                       # what this greenlet logs from now on is about that call
    logger.error(lost, extra={"keep": True})                 # all that is left of a record: dropped last of all
    log.drain(5)                                             # once, at the end
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
from typing import Any, Final

from gevent import monkey

MAX_LINES: Final = 10_000
"""Lines that may wait for a stuck reader; what comes beyond them is counted and dropped."""

MAX_KEPT: Final = 80_000
"""The same of lines that are to be kept: what the records' queue holds, twice over."""

BATCH: Final = 16
"""Lines that are written at once: fewer turns for the interpreter, and no more than some kilobytes in hand."""

STUCK_S: Final = 1.0
"""A reader that takes no line for so long is not waited for at the end."""

LAST_LINE_S: Final = 0.25
"""What is kept of the time for the line that says how many could not be written."""

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
    rf"(?=[+%(\d]){_BEFORE}(?:"  # first the cheapest look: most of a line is no digit
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
    """Formats a record and hands it over; one that is to be kept is formatted only when it is written.

    There may be tens of thousands of those at once, when Kav stops without its database.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self.lines: queue.SimpleQueue[Any] = _NativeQueue()
        """Texts, and records that become text when they are written."""
        self.dropped = 0
        self._queued = self._done = 0
        self._closing = self._closed = False
        self._secrets = tuple(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)
        self.addFilter(_named)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line."""
        keep = getattr(record, "keep", False)
        if self.lines.qsize() >= (MAX_KEPT if keep else MAX_LINES):
            self.dropped += 1
            return
        self._queued += 1
        self.lines.put(record if keep else self.format(record))

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, without what no log may hold."""
        record.msg, record.args = self._clean(record.getMessage()).translate(_NO_CONTROL), None
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = self._clean(_FORMATTER.formatException(record.exc_info))
        return super().format(record)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return masked(text)

    # The thread that writes

    def write(self) -> None:
        """Write what is queued, for as long as the process lives or until it cannot wait any more."""
        while not self._closing:
            taken = self._take()
            self._put("".join(f"{self._text(line)}\n" for line in taken), len(taken))
            self._done += len(taken)
        self._say_what_is_left()
        self._closed = True

    def _take(self) -> list[str | logging.LogRecord]:
        taken = [self.lines.get()]
        while len(taken) < BATCH and not self.lines.empty():
            taken.append(self.lines.get())
        return taken

    def _text(self, line: str | logging.LogRecord) -> str:
        if isinstance(line, str):
            return line
        try:
            return self.format(line)
        except Exception as error:  # noqa: BLE001 - the thread's root: one bad line must not end all others
            return f"a line could not be put into words: {type(error).__name__}"

    def _put(self, text: str, lines: int) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:  # whoever read them is gone
            self.dropped += lines

    def _say_what_is_left(self) -> None:
        left = [self.lines.get() for _ in range(self.lines.qsize())]
        if not left:
            return
        kept = sum(not isinstance(line, str) for line in left)
        told = {"event": "lines_not_written", "lines": len(left), "records": kept, "dropped_before": self.dropped}
        last = {"name": __name__, "levelno": logging.ERROR, "levelname": "ERROR", "call_sid": "-"}
        self._put(self.format(logging.makeLogRecord(last | {"msg": json.dumps(told)})) + "\n", 1)

    # The end

    def drain(self, within_s: float) -> None:
        """Wait until all is written, while somebody reads it; then have it said, once, how much was not."""
        if self._closing:
            return
        until, done, moved_at = time.monotonic() + within_s - LAST_LINE_S, self._done, time.monotonic()
        while self._unwritten and time.monotonic() < min(until, moved_at + STUCK_S):
            time.sleep(0.01)
            if self._done != done:
                done, moved_at = self._done, time.monotonic()
        if self._unwritten:
            self._closing, until = True, time.monotonic() + LAST_LINE_S
            while not self._closed and self._unwritten and time.monotonic() < until:
                time.sleep(0.01)

    @property
    def _unwritten(self) -> int:
        return 0 if self._closed else self._queued - self._done


def _named(record: logging.LogRecord) -> bool:
    """Let a record name its call."""
    record.call_sid = str(getattr(record, "call_sid", None) or _call_sid.get())[:MAX_CALL_SID].translate(_NO_CONTROL)
    return True


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


def drain(within_s: float) -> None:
    """Wait, at most so long, for the lines that are still queued; called at the end.

    Nobody waits for a reader that takes none. What could not be written is counted in a last line.
    """
    for handler in _handlers():
        handler.drain(within_s)


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
    _start_native_thread(handler.write, ())
