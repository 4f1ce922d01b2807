"""What is still to be done for a call when no media flows any more: decided from its entry's facts and the time.

Closing the socket is not hanging up, and an end that nobody confirms is not an end: so Kav asks, over REST, when
Twilio does not. All times are monotonic seconds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

FIRST_RETRY_S: Final = 5.0
LAST_RETRY_S: Final = 60.0
RETRY_FOR_S: Final = 600.0
"""How long Twilio's REST API is asked again when it is down, or says that a line is still up, which is paid for."""

LAST_UNHEARD_S: Final = 600.0
UNHEARD_FOR_S: Final = 86_400.0
"""How rarely, and how long, Twilio is asked about a call whose process is gone. It may go on with a human, and nobody
cuts in there; a day later Twilio has ended it."""

RING_S: Final = 130.0
"""How long a human's telephone may ring after a hand-over; whoever is not taken comes back to the call's entry."""

LAST_WORDS_S: Final = 10.0
"""How much longer Twilio is given in a drain before it is told to hang up, if the end leaves words to it: it may be
saying them, for the next process was asked for them, and nobody here hears of that. Two sentences are 6 or 7 s."""


class Chore(Enum):
    """One thing to do for a call, once."""

    CLOSE_PREWARM = "close the model that nobody claimed"
    END_WITHOUT_STREAM = "end a call whose media socket never came"
    END_LOST = "end a call whose lost stream Twilio does not ask about"
    RECORD_END = "write down how the call ended"
    HANG_UP = "hang up over REST"
    FETCH_STATUS = "ask Twilio for the terminal status that never came"
    RECORD_STATUS = "write down the terminal status of a call that no telephone network tells of"
    RECORD_GHOST = "write down how long the line outlived the call"
    REPORT = "count the call, sum it up and tell of it"
    FORGET = "remove the entry"


@dataclass(frozen=True, slots=True)
class Retry:
    """A chore that failed so many times, and the next time that it is due."""

    failures: int
    due_at: float
    since: float
    """When it failed first."""


def retry(
    before: Retry | None, now: float, *, last_s: float = LAST_RETRY_S, for_s: float = RETRY_FOR_S
) -> Retry | None:
    """Return when a chore that has just failed, for a passing reason, is due again; None when it is given up.

    Args:
        before: how it stood before; None when it has failed for the first time.
        now: monotonic seconds.
        last_s: the longest pause, in seconds.
        for_s: after so many seconds it is given up.
    """
    failures, since = (before.failures + 1, before.since) if before is not None else (1, now)
    due_at = now + min(last_s, FIRST_RETRY_S * 2 ** (failures - 1))
    return Retry(failures, due_at, since) if due_at - since <= for_s else None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the entry says."""

    created_at: float
    prewarmed: bool
    streaming: bool
    streamed: bool
    """A stream has come, whether it is still there or not."""
    stream_lost_at: float | None
    ended_at: float | None
    ended_by_kav: bool
    """Kav decided the end: nobody has said yet that the telephone call is over."""
    handed_over: bool
    words_left: bool
    """The end leaves words to Twilio's voice."""
    on_the_telephone: bool
    """Twilio carries the call, can be asked about it and told to hang up."""
    after_stream_at: float | None
    terminal_at: float | None
    done: frozenset[Chore]
    human_s: float = 0.0
    """How long a human to whom the call was handed over may have it, the ringing included."""
    human_left_at: float | None = None
    """When Twilio told that the human's leg was over."""
    retries: Mapping[Chore, Retry] = field(default_factory=dict)
    """Chores that failed for a passing reason."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each thing is waited for, in seconds; see the settings of the same names."""

    prewarm_unclaimed_s: float
    hangup_fallback_s: float
    terminal_status_s: float
    entry_ttl_s: float
    report_s: float = 5.0
    """After an end, for Twilio's terminal status, before the call is told of without it."""
    draining: bool = False
    """What Twilio asks may reach another process, and is not heard of here."""
    leaving: bool = False
    """The process stops: what only delays a report is waited for no more."""


def due(facts: Facts, patience: Patience, now: float) -> list[Chore]:
    """Return what is to be done now, in order."""
    return [chore for chore in _due(facts, patience, now) if chore not in facts.done and not _waits(chore, facts, now)]


def _waits(chore: Chore, facts: Facts, now: float) -> bool:
    retry = facts.retries.get(chore)
    return retry is not None and now < retry.due_at


def _due(facts: Facts, patience: Patience, now: float) -> Iterator[Chore]:
    asked_at = facts.after_stream_at or facts.created_at  # when Twilio was last told to open a stream
    if facts.prewarmed and now - asked_at >= patience.prewarm_unclaimed_s:
        yield Chore.CLOSE_PREWARM
    if facts.ended_at is None:
        yield from _due_before_the_end(facts, asked_at, patience, now)
    elif not facts.streaming:
        yield from _due_after_the_end(facts, facts.ended_at, patience, now)


def _due_before_the_end(facts: Facts, asked_at: float, patience: Patience, now: float) -> Iterator[Chore]:
    if facts.streaming:
        return
    if facts.stream_lost_at is not None and facts.stream_lost_at > asked_at:
        if now - facts.stream_lost_at >= patience.hangup_fallback_s:
            yield Chore.END_LOST
    elif now - asked_at >= (patience.prewarm_unclaimed_s if facts.streamed else patience.entry_ttl_s):
        yield Chore.END_WITHOUT_STREAM


def _due_after_the_end(facts: Facts, ended_at: float, patience: Patience, now: float) -> Iterator[Chore]:
    yield Chore.RECORD_END
    if not facts.on_the_telephone:
        yield Chore.RECORD_STATUS
    elif facts.terminal_at is not None:
        yield Chore.RECORD_GHOST
    else:
        yield from _due_without_a_status(facts, ended_at, patience, now)
    # One that was handed over may come back, and then it is not over.
    kept_s = patience.entry_ttl_s + (RING_S if facts.handed_over and facts.terminal_at is None else 0.0)
    report_s = kept_s if facts.handed_over else patience.report_s
    if patience.leaving or facts.terminal_at is not None or now - ended_at >= report_s:
        yield Chore.REPORT
    if now - ended_at >= kept_s and not _still_asks(facts):
        yield Chore.FORGET


def _due_without_a_status(facts: Facts, ended_at: float, patience: Patience, now: float) -> Iterator[Chore]:
    asked = facts.after_stream_at is not None and facts.after_stream_at >= ended_at
    unanswered = facts.ended_by_kav and not asked and not facts.handed_over
    words_s = LAST_WORDS_S if patience.draining and facts.words_left else 0.0
    if unanswered and now - ended_at >= patience.hangup_fallback_s + words_s:
        yield Chore.HANG_UP
    over_at = (facts.human_left_at or ended_at + facts.human_s) if facts.handed_over else ended_at
    if now - over_at >= patience.terminal_status_s:
        yield Chore.FETCH_STATUS


def _still_asks(facts: Facts) -> bool:
    """Whether Twilio is to be asked about the call once more: so long, its entry stays."""
    if facts.terminal_at is not None:
        return False
    with_human = facts.handed_over and facts.on_the_telephone and Chore.FETCH_STATUS not in facts.done
    return with_human or any(chore not in facts.done for chore in facts.retries)
