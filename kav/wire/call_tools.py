"""The tools of one call: run beside the media path, so many at once, each with an end that the session hears of."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import gevent
from gevent.lock import BoundedSemaphore
from gevent.pool import Group

from kav.call.actions import RunTool
from kav.call.events import ToolFinished
from kav.call.flow import Flow
from kav.wire.http_tools import NOT_AVAILABLE, HttpTools, ToolAnswer

AT_ONCE: Final = 2
"""Of one call; what it asks besides waits, within the tool's own time."""

MAX_NAME: Final = 64

DEFAULT_TIMEZONE: Final = "Asia/Jerusalem"
"""Of a business that names no opening hours."""

log = logging.getLogger(__name__)


class CallTools:
    """Runs what the model asks for, for one call; `finished` is told of every end."""

    def __init__(self, call_sid: str, flow: Flow, http: HttpTools, finished: Callable[[ToolFinished], None]) -> None:
        self._call_sid, self._flow, self._http, self._finished = call_sid, flow, http, finished
        self._places = BoundedSemaphore(AT_ONCE)
        self._at_work = Group()

    def start(self, action: RunTool) -> None:
        """Begin to run a tool; never waits."""
        self._at_work.start(gevent.Greenlet(self._work, action))

    def stop(self) -> None:
        """Let go of whatever runs: nobody waits for it any more."""
        self._at_work.kill(block=False)

    def _work(self, action: RunTool) -> None:
        began, name = time.monotonic(), action.name[:MAX_NAME]
        try:
            answer = self._answer(action)
        except Exception:  # this greenlet's root: a tool without an output would keep the bot silent
            log.exception("tool %s failed", name, extra={"call_sid": self._call_sid})
            answer = ToolAnswer(NOT_AVAILABLE, "failed")
        ended = time.monotonic()
        log.info(
            "tool %s: %s in %d ms", name, answer.status, (ended - began) * 1000, extra={"call_sid": self._call_sid}
        )
        self._finished(ToolFinished(ended, action.call_id, answer.output, answer.ok))

    def _answer(self, action: RunTool) -> ToolAnswer:
        """Run a tool of Kav's own, or ask one of the business's."""
        if action.name == "current_time":
            return ToolAnswer(time_at(self._flow), "ok")
        tool = next((tool for tool in self._flow.tools if tool.name == action.name), None)
        if tool is None:
            return ToolAnswer(f"There is no tool {action.name[:MAX_NAME]!r}.", "unknown")
        return self._http.call(tool, action.arguments, self._places)


def time_at(flow: Flow) -> str:
    """Return the weekday, date and time of day at the business."""
    zone = flow.hours.timezone if flow.hours is not None else DEFAULT_TIMEZONE
    return datetime.now(ZoneInfo(zone)).strftime("%A %Y-%m-%d %H:%M")
