"""Who is taken in: which of the calls that come the bot answers, by how busy, how late and how dear things are.

Nobody who is refused meets the model. All times are monotonic seconds but for the day that money is counted by.
"""

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, NamedTuple, Protocol

Verdict = Literal["take", "transfer", "busy", "too_many_calls", "closed_for_today"]
"""Take the call, pass it to the business's human, or say the phrase of that id and hang up."""

Hindrance = Literal["draining", "late", "full", "flow_full", "spent"]
"""Why no call at all, or none more of that business's, can be taken: whoever calls."""

HOUR_S: Final = 3600.0

MAX_REMEMBERED: Final = 50_000
"""Calls of the last hour whose caller is remembered: some 10 MB. Beyond it the oldest count no more."""

MAX_PRICED: Final = 10_000
"""Calls whose cost so far is remembered: what a call costs is told again and again, always as a whole."""

LATE_FOR_S: Final = 2.0
"""How much longer late than in time, or in time than late, before that counts: one pause is no overload."""

WITHHELD: Final = "anonymous"
"""In a list of blocked numbers: everybody who shows no number."""

NO_NUMBERS: Final = frozenset({"+266696687", "+7378742833", "+2562533", "+8566696", "+86282452253", "+464"})
"""What Twilio passes on for callers without a number: ANONYMOUS, RESTRICTED, BLOCKED, UNKNOWN, UNAVAILABLE and none,
as keyed on a telephone (unverified: no stored source has the list; any other withheld form is told by its shape)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed; 0 is no limit, but for `calls`."""

    calls: int
    business_calls: int
    caller_calls: int
    """Of one caller, in any hour."""
    spend_micro_usd: int
    """A day."""


@dataclass(frozen=True, slots=True)
class Load:
    """How things are; the call in question does not count."""

    calls: int = 0
    business_calls: int = 0
    caller_calls: int = 0
    blocked: bool = False
    late: bool = False
    """The process has been too slow for some time: one more call would hurt those that go on."""
    draining: bool = False
    """The process is about to stop."""
    spent_micro_usd: int = 0


class Counted(NamedTuple):
    """A new call among those of all processes that were let in; it does not count itself."""

    caller_calls: int
    """Of the same caller, within the hour."""
    business_calls: int
    """Of the same business, that go on."""


class Newcomer(NamedTuple):
    """A call that asks to be let in; a number or a business that is empty has no limit."""

    call_sid: str
    number: str
    business: str


class Counts(Protocol):
    """What several processes count together; None: nobody knows of the others."""

    def admit(self, newcomer: Newcomer, limits: Limits) -> Counted | None:
        """Let a call in and count it, in one step, unless a limit of its caller's or its business's is reached."""

    def withdraw(self, newcomer: Newcomer) -> None:
        """Count a call no longer that was let in, and then turned away for another reason."""

    def place(self, ticket: str, per_minute: int) -> float | None:
        """Count a call that is to be placed, unless it must wait; returns for how many seconds."""


def rule(load: Load, limits: Limits, *, has_human: bool) -> Verdict:
    """Say what becomes of a new call; `has_human`: the business has somebody to pass it to.

    Who calls too often is told so whatever else is the matter. While the process stops, a person serves the caller
    better than a request to call again.
    """
    if load.blocked or _reached(load.caller_calls, limits.caller_calls):
        return "too_many_calls"
    hindered = hindrance(load, limits)
    if hindered == "draining":
        return "transfer" if has_human else "busy"
    if hindered == "spent":
        return "closed_for_today"
    return "busy" if hindered is not None else "take"


def hindrance(load: Load, limits: Limits) -> Hindrance | None:
    """Say what is in the way of one call more, whoever calls."""
    if load.draining:
        return "draining"
    if load.late:
        return "late"
    if load.calls >= limits.calls:
        return "full"
    if _reached(load.business_calls, limits.business_calls):
        return "flow_full"
    return "spent" if _reached(load.spent_micro_usd, limits.spend_micro_usd) else None


def _reached(value: int, limit: int) -> bool:
    return 0 < limit <= value


def is_withheld(number: str) -> bool:
    """Whether a caller shows no number: many people do, and nobody can tell them apart."""
    address = number.startswith(("sip:", "client:"))
    return number in NO_NUMBERS or not (address or (number.startswith("+") and number[1:].isdigit()))


def is_blocked(number: str, blocked: Collection[str]) -> bool:
    """Whether a caller is on the list: by the whole number, a beginning (`+2637*`), or as one who shows none."""
    if is_withheld(number):
        return WITHHELD in blocked
    return any(number.startswith(entry[:-1]) if entry.endswith("*") else number == entry for entry in blocked)


class Callers:
    """How often each caller has called within the last hour.

    Those who withhold their number are not counted: together they would lock each other out, one of them all others.
    What they can cost is bounded by the other limits, and they may be blocked altogether.
    """

    def __init__(self, at_most: int = MAX_REMEMBERED) -> None:
        self._at_most = at_most
        self._calls: deque[tuple[float, str]] = deque()
        self._counts: Counter[str] = Counter()

    def count(self, number: str, now: float) -> int:
        """Return how often they have called."""
        while self._calls and now - self._calls[0][0] >= HOUR_S:
            self._forget_oldest()
        return self._counts.get(number, 0)

    def note(self, number: str, now: float) -> None:
        """They call."""
        if is_withheld(number):
            return
        if len(self._calls) >= self._at_most:
            self._forget_oldest()
        self._calls.append((now, number))
        self._counts[number] += 1

    def _forget_oldest(self) -> None:
        _, number = self._calls.popleft()
        self._counts[number] -= 1
        if not self._counts[number]:
            del self._counts[number]


class Lateness:
    """Whether the process is too late to take more in: most of the time, for some time; and until it is in time so.

    A vessel that fills while the process is late and leaks while it is not, so that one look in time among many that
    were late begins nothing anew.
    """

    def __init__(self, too_late_s: float) -> None:
        self._too_late_s = too_late_s
        self._filled_s = 0.0
        """Up to LATE_FOR_S."""
        self._seen_at: float | None = None
        self.late = False

    def observe(self, now: float, late_by_s: float) -> None:
        """The process came round at `now`, `late_by_s` after its time; a limit of 0 s is none."""
        passed_s = now - self._seen_at if self._seen_at is not None else late_by_s
        self._seen_at = now
        sees_late = 0 < self._too_late_s <= late_by_s
        self._filled_s = min(LATE_FOR_S, max(0.0, self._filled_s + (passed_s if sees_late else -passed_s)))
        if self._filled_s == (0.0 if self.late else LATE_FOR_S):
            self.late = not self.late


class Spending:
    """What the models have cost today, in millionths of a dollar: told call by call, always with the call's whole."""

    def __init__(self) -> None:
        self._day: date | None = None
        self._micro_usd = 0
        self._of_calls: dict[str, int] = {}

    def today(self, day: date) -> int:
        """Return what `day` has cost."""
        self._turn_to(day)
        return self._micro_usd

    def recorded(self, day: date, micro_usd: int) -> None:
        """The records say that `day` has cost so much, by all processes that write them."""
        self._turn_to(day)
        self._micro_usd = max(self._micro_usd, micro_usd)

    def note(self, day: date, call_sid: str, micro_usd: int) -> None:
        """A call has cost so much in all; what is new of it belongs to `day`."""
        self._turn_to(day)
        self._micro_usd += max(0, micro_usd - self._of_calls.pop(call_sid, 0))
        self._of_calls[call_sid] = micro_usd
        if len(self._of_calls) > MAX_PRICED:
            del self._of_calls[next(iter(self._of_calls))]

    def _turn_to(self, day: date) -> None:
        if day != self._day:
            self._day, self._micro_usd = day, 0
