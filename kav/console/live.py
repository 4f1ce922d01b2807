"""The calls that are going on, as a page shows them: read from the registry, twice a second at most, for all viewers.

Nothing here waits, and nothing touches a greenlet that carries media: a look is some microseconds a call.
"""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

import stream_registry
from kav.call.conversation import Conversation
from kav.call.events import Usage
from kav.console.words import Words
from kav.cost import Prices
from stream_registry import Entry

LOOK_EVERY_S: Final = 0.5
"""How old a picture of the calls may be."""

SHOWN_AFTER_END_S: Final = 10.0
"""How long a call stays on the page after its end: one looks up, and sees how it went."""

COMMENT_EVERY_S: Final = 15.0
"""A line at least this often: Heroku cuts what is idle for 55 s, and a viewer that is gone is noticed."""

RECONNECT_MS: Final = 3000

TURN_VERSIONS: Final = 100_000

Used = tuple[dict[str, Usage], float, int]
"""What each model took, seconds of transcribed speech, and of how much nobody told what it took."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call has cost so far, as far as prices are known."""

    micro_usd: int | None = None
    is_partial: bool = False
    """Something was used whose price nobody knows, or nobody told how much was."""


@dataclass(frozen=True, slots=True)
class LiveCall:
    """One call as it is now."""

    call_sid: str
    other: str
    """Number of the other party."""
    business: str
    direction: str
    line: str
    step: str
    question: str
    """What the step asks, in the flow's own language."""
    question_language: str
    position: int
    """Of the step, from 1; 0 where none is active."""
    steps: int
    speaking: Literal["caller", "bot", "nobody"]
    language: str
    barge_ins: int
    cost: Cost
    version: int
    """Changes with whatever is said, so that whoever shows the words knows that there are more."""
    began_at: float
    """Monotonic seconds."""
    ended_at: float | None
    end_reason: str


class LiveCalls:
    """All calls that are going on, and those that have just ended."""

    def __init__(self, prices: Prices, model: str, transcriber: str) -> None:
        self._prices = prices
        self._model = model
        self._transcriber = transcriber
        self._seen: list[LiveCall] = []
        self._seen_at = -LOOK_EVERY_S
        self._costs: dict[str, tuple[Used, Cost]] = {}

    def look(self, now: float) -> list[LiveCall]:
        """Return the calls, newest first; the same picture for whoever asks within half a second."""
        if now - self._seen_at >= LOOK_EVERY_S * 0.9:
            entries = [entry for entry in stream_registry.registry.values() if _is_shown(entry, now)]
            self._seen = [self.picture(entry) for entry in entries][::-1]
            self._seen_at = now
            there = {call.call_sid for call in self._seen}
            self._costs = {call_sid: cost for call_sid, cost in self._costs.items() if call_sid in there}
        return self._seen

    def forget(self) -> None:
        """Let the next look be a new one: something was done, and whoever did it wants to see it."""
        self._seen_at = -LOOK_EVERY_S

    def picture(self, entry: Entry) -> LiveCall:
        """Return one call as it is now."""
        talk, stream = entry["conversation"], entry["stream"]
        flow = talk.flow if talk is not None else entry["flow"]
        active = talk.lock.active if talk is not None else None
        return LiveCall(
            call_sid=entry["call_sid"],
            other=stream_registry.other_party(entry),
            business=flow.business,
            direction=entry["direction"],
            line=entry["line"],
            step=active.id if active is not None else "",
            question=active.ask.get(flow.language, "") if active is not None else "",
            question_language=flow.language,
            position=flow.steps.index(active) + 1 if active is not None else 0,
            steps=len(flow.steps),
            speaking=stream.speaking if stream is not None else "nobody",
            language=talk.language.current if talk is not None else flow.language,
            barge_ins=talk.chronicle.barge_ins if talk is not None else 0,
            cost=self._cost(entry["call_sid"], talk) if talk is not None else Cost(),
            version=_version(talk) if talk is not None else 0,
            began_at=entry["streamed_at"] or entry["created_at"],
            ended_at=entry["ended_at"] if entry["ended"] else None,
            end_reason=entry["end_reason"] or "",
        )

    def _cost(self, call_sid: str, talk: Conversation) -> Cost:
        """Return what the call has cost so far; reckoned anew only when there was more to pay for."""
        usages, heard_s, unreported = used = _used(talk)
        known = self._costs.get(call_sid)
        if known is None or known[0] != used:
            costs = [self._prices.micro_usd(model or self._model, tokens) for model, tokens in usages.items()]
            costs += [self._prices.audio_micro_usd(self._transcriber, heard_s)] if heard_s else []
            costs += [None] if unreported else []
            known = self._costs[call_sid] = (used, _sum(costs))
        return known[1]


def _used(talk: Conversation) -> Used:
    account = talk.chronicle
    return dict(account.usages), account.transcribed_s, account.unreported


def _sum(costs: Collection[int | None]) -> Cost:
    """Add up what is known, as a call's record does."""
    known = [cost for cost in costs if cost is not None]
    return Cost(sum(known) if known or not costs else None, len(known) < len(costs))


def _version(talk: Conversation) -> int:
    """Return a number that changes with the words of the call: the latest turns are those that still grow."""
    turns = talk.chronicle.turns
    return TURN_VERSIONS * len(turns) + sum(len(turn.text) for turn in turns[-4:])


def _is_shown(entry: Entry, now: float) -> bool:
    """Of a live call of another process's, the entry is here for as long as a request is answered: it is told there."""
    if not entry["ended"]:
        return entry["stream"] is not None or stream_registry.sharing().looks_after(entry)
    ended_at = entry["ended_at"]
    return ended_at is not None and now - ended_at < SHOWN_AFTER_END_S


@dataclass(slots=True)
class Watch:
    """What one viewer has been told: says what is new, and keeps the line alive."""

    words: Words
    _told: dict[str, LiveCall] | None
    """None: nothing yet, not even that there is no call."""
    _told_at: float

    @classmethod
    def begin(cls, words: Words, now: float) -> "Watch":
        """Return one that has been told nothing."""
        return cls(words, None, now)

    def news(self, calls: list[LiveCall], now: float) -> str:
        """Return what to send, as server-sent events (WHATWG HTML, 9.2); empty when nothing has changed."""
        told = self._told or {}
        changed = [call for call in calls if told.get(call.call_sid) != call]
        there = {call.call_sid: call for call in calls}
        gone = [call_sid for call_sid in told if call_sid not in there]
        if changed or gone or self._told is None:
            self._told, self._told_at = there, now
            body = {"calls": [show(call, self.words, now) for call in changed], "gone": gone, "live": count(calls)}
            return f"data: {msgspec.json.encode(body).decode()}\n\n"
        if now - self._told_at >= COMMENT_EVERY_S:
            self._told_at = now
            return ":\n\n"
        return ""


def count(calls: list[LiveCall]) -> int:
    """Return how many calls are going on."""
    return sum(call.ended_at is None for call in calls)


def show(call: LiveCall, words: Words, now: float) -> dict[str, Any]:
    """Return a call in words, for a row of the page; the seconds count on in the browser until the end."""
    over = call.ended_at is not None
    seconds = (call.ended_at if call.ended_at is not None else now) - call.began_at
    speaking = "over" if over else call.speaking
    return {
        "sid": call.call_sid,
        "who": words.party(call.other, call.line),
        "direction": words.name("direction", call.direction),
        "business": call.business,
        "step": words.step(call.position, call.steps),
        "question": call.question,
        "question_id": call.step,
        "question_language": call.question_language,
        "speaking": speaking,
        "speaker": words.name("end_reason", call.end_reason) if over else words.name("speaking", call.speaking),
        "language": words.name("languages", call.language),
        "barge_ins": call.barge_ins,
        "cost": words.price(call.cost.micro_usd, call.cost.is_partial),
        "cost_note": words.text("call.cost_partial") if call.cost.is_partial else "",
        "seconds": round(max(0.0, seconds)),
        "over": over,
        "version": call.version,
    }


def watch(calls: LiveCalls, words: Words, goes_on: Callable[[], bool], pause: Callable[[], None]) -> Iterator[str]:
    """Yield server-sent events until `goes_on` says no; `pause` waits until the next look."""
    yield f"retry: {RECONNECT_MS}\n\n"
    told = Watch.begin(words, time.monotonic())
    while goes_on():
        now = time.monotonic()
        news = told.news(calls.look(now), now)
        if news:
            yield news
        pause()
