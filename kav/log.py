"""Logging that never waits: a line is put on a queue, and a native thread writes it.

A greenlet that wrote to a full pipe would hold up every call of the process.
"""

import logging
import queue
import sys
import time
from typing import Final

from gevent import monkey

MAX_LINES: Final = 10_000
"""Lines that may wait for a stuck reader; what comes beyond them is counted and dropped."""

DRAIN_S: Final = 1.0
"""How long the last lines may take to be written."""

MAX_CALL_SID: Final = 64

_NO_CONTROL: Final = dict.fromkeys(range(32), " ")
"""What strangers send may stand in a line, and may not begin one of its own."""

_start_native_thread = monkey.get_original("_thread", "start_new_thread")
_NativeQueue = monkey.get_original("queue", "SimpleQueue")


class QueueHandler(logging.Handler):
    """Formats a record and hands it over."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: queue.SimpleQueue[str] = _NativeQueue()
        self.dropped = 0
        self.addFilter(_name_call)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line."""
        if self.lines.qsize() >= MAX_LINES:
            self.dropped += 1
            return
        self.lines.put(self.format(record))


def _name_call(record: logging.LogRecord) -> bool:
    """Every line has a call_sid, if only an empty one, and is one line."""
    record.call_sid = str(getattr(record, "call_sid", "-"))[:MAX_CALL_SID].translate(_NO_CONTROL)
    if record.exc_info is None:
        record.msg, record.args = record.getMessage().translate(_NO_CONTROL), None
    return True


def _write(lines: "queue.SimpleQueue[str]") -> None:
    while True:
        sys.stderr.write(lines.get() + "\n")
        sys.stderr.flush()


def drain() -> None:
    """Wait a moment for the lines that are still queued; called once, at the end."""
    until = time.monotonic() + DRAIN_S
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, QueueHandler)]
    while any(not handler.lines.empty() for handler in handlers) and time.monotonic() < until:
        time.sleep(0.01)


def init(level: str) -> None:
    """Send all logging through the queue; called once, at boot."""
    handler = QueueHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(call_sid)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("websockets").setLevel(logging.WARNING)  # it notes every close
    _start_native_thread(_write, (handler.lines,))
