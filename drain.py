"""Lets a process go that is told to stop: live calls finish, or hear that they must end; nobody is simply cut off.

HTTP stays open to the last, for Twilio asks what comes after each stream. On a platform that routes requests to the
next process from the first moment on (Heroku), ends and hand-overs are told to Twilio over REST instead of being asked
for: the next process knows nothing of the call, and could only apologise.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

import gevent

import stream_registry
from media_desk import MediaDesk
from media_ws_ai import Stream
from stream_registry import Entry

LAST_WORDS_S: Final = 5.0
"""For the apology: two sentences, and the model's first word before them."""

QUESTION_S: Final = 1.5
"""For Twilio to ask what comes after a stream that was closed, and to tell that the call is over."""

LEAVE_S: Final = 9.0
"""All that follows the drain, records included: with the default of 20 s, done a second before Heroku kills."""

CONNECTING_S: Final = 3.0
"""How long a call whose stream is still to come is waited for."""

log = logging.getLogger(__name__)


class Countdown:
    """Shares what time is left among the steps of leaving."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def take(self, at_most_s: float, *, leave_s: float = 0.0) -> float:
        """Return how long a step may take, so that `leave_s` remain for those after it."""
        return max(0.0, min(at_most_s, self._until - time.monotonic() - leave_s))


def drain(media: MediaDesk, tell: Callable[[Entry], bool] | None, drain_s: float) -> Countdown:
    """Let live calls finish for `drain_s` seconds, then tell the others and end them; returns the time that is left.

    Args:
        media: the process's streams.
        tell: how to tell Twilio over REST what follows a stream; None where there is no account to ask with.
        drain_s: seconds.
    """
    media.draining, media.tell, began_at = True, tell, time.monotonic()
    log.info("stopping: %d live calls may finish within %s s", len(media.live), drain_s)
    _wait_until(lambda: not media.sockets and not _connecting(), drain_s)
    countdown = Countdown(LEAVE_S)
    media.closed = True
    _tell(media)
    _wait_until(lambda: not media.sockets, countdown.take(LAST_WORDS_S, leave_s=2 * QUESTION_S))
    for entry in _unended():  # what nobody has heard from the bot by now, Twilio may still say
        _end(entry)
    _wait_until(lambda: not media.sockets and not _unfinished(began_at), countdown.take(QUESTION_S))
    return countdown


def _connecting() -> list[Entry]:
    """Calls that have been taken and whose stream is about to come."""
    now = time.monotonic()
    return [entry for entry in _unended() if entry["stream"] is None and now - _asked_at(entry) < CONNECTING_S]


def _asked_at(entry: Entry) -> float:
    return max(entry["created_at"], entry["after_stream_at"] or 0.0, entry["stream_lost_at"] or 0.0)


def _unended() -> list[Entry]:
    """Calls that go on; where there are other processes, one without a stream here may go on there."""
    many, entries = stream_registry.sharing().many, list(stream_registry.registry.values())
    return [entry for entry in entries if not entry["ended"] and (entry["stream"] is not None or not many)]


def _tell(media: MediaDesk) -> None:
    """Let every live call hear that it must end; those without a stream hear it from Twilio."""
    for entry in _unended():
        if entry["stream"] is None:
            _end(entry)
    for stream in list(media.live):
        stream.shut_down()


def _end(entry: Entry) -> None:
    """End a call with words of Twilio's, unless it is just being handed over: then that is its end."""
    stream: Stream | None = entry["stream"]
    if stream is not None:
        stream.end("shutdown", after_stream="apology")
    else:
        stream_registry.end(entry["call_sid"], "shutdown", after_stream="apology")


def _unfinished(since: float) -> bool:
    """Whether Twilio has still to ask, or to tell, something of a call that ended since then.

    Unanswered, it says an error to the caller; unheard, the call's record lacks how it ended there.
    """
    return any(
        entry["line"] == "twilio" and (entry["ended_at"] or 0.0) >= since and not _is_finished(entry)
        for entry in stream_registry.registry.values()
    )


def _is_finished(entry: Entry) -> bool:
    asked_at, ended_at = entry["after_stream_at"], entry["ended_at"] or 0.0
    asked = asked_at is not None and asked_at >= ended_at
    return entry["terminal_at"] is not None or (asked and stream_registry.handed_over(entry))


def _wait_until(done: Callable[[], bool], timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while not done() and time.monotonic() < until:
        gevent.sleep(0.05)
