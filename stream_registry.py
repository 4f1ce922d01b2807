"""The dict that everybody shares: one entry per call that is going on, by CallSid.

`registry[call_sid]` is the very dict that the call's loop polls, never a copy: a webhook that sets `ended` on it has
told the loop. `end` is the one way in which a call ends; it sets the flag first and wakes the loop after.

An entry stays, with a tombstone's patience, until nobody can ask for it any more; a missing entry reads as ended.
Times are monotonic seconds.
"""

import secrets
import time
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypedDict

from kav.call.actions import EndReason
from kav.call.aftermath import Chore
from kav.call.conversation import Conversation
from kav.call.events import Direction
from kav.call.flow import Flow

Line = Literal["twilio", "browser"]
"""What the other party talks through: the telephone network, or a page of the console's that stands in for it."""

Refusal = Literal["busy", "too_many_calls", "closed_for_today"]
"""Ids of the phrases with which a call is not taken."""

AfterStream = Literal["hang_up", "apology", "transfer", "announced_transfer", "message", Refusal]
"""What follows the stream: nothing, words that something went wrong, a human, a human whom Twilio's voice announces,
for the model could not, the flow's message for an answering machine, or why there never was a stream."""

TERMINAL_STATUSES: Final = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})


class Entry(TypedDict):
    """One call, from its voice webhook to its tombstone."""

    call_sid: str
    direction: Direction
    line: Line
    business: str
    """Id of its flow."""
    flow: Flow
    """The script of this very call: its business's, filled with what was told of the person who is called."""
    from_number: str
    to_number: str
    conversation: Conversation | None
    """Where the script stands; it outlives a lost stream."""
    token: str | None
    """Opaque, good for one stream; None once a stream has used it."""
    created_at: float
    ended: bool
    """The flag that the call's loop polls."""
    end_reason: EndReason | None
    """This and the next are known before `ended` is set where the end was announced."""
    ended_at: float | None
    terminal_at: float | None
    """When Twilio's terminal status came."""
    after_stream: AfterStream
    after_stream_at: float | None
    """When Twilio last asked what comes after the stream."""
    after_stream_key: str
    """Its idempotency token: the same question gets the same answer."""
    human_left_at: float | None
    """When Twilio told that the human to whom the call was handed over has no part in it any more."""
    stream: Any | None
    """The stream that is live, if one is: compare identity before clearing it."""
    stream_lost_at: float | None
    """When a stream was lost although nobody had ended the call."""
    streamed_at: float | None
    """When its first stream was accepted."""
    opening: str
    """Id of the phrase that the next stream opens with."""
    fresh_streams: int
    """How many streams were given to replace a lost one."""
    model: Any | None
    """The model connection that waits for its stream (prewarm)."""
    wake: Callable[[], None] | None
    """Called when `ended` was set: whoever carries the call stops at once."""
    chores_done: set[Chore]
    """What was done for the call after its end."""
    recorded: bool
    """Whether Twilio was told to record the call."""
    listed: bool
    """The other party asked not to be called, and that was written down."""


registry: dict[str, Entry] = {}


class Sharing(Protocol):
    """How the entries of this process are known to others: not at all, or by way of Redis (`kav.shared`)."""

    many: bool
    """Whether what Twilio asks about a call, and its stream, may reach several processes."""

    def find(self, call_sid: str) -> Entry | None:
        """Return the call's entry as all processes know it now; waits for Redis, so not for the media path."""

    def seek(self, call_sid: str, *, with_token: bool = False) -> Entry | None:
        """Return the same of a call that must be somewhere, or must have a token: waits where nobody can be asked."""

    def register(self, entry: Entry) -> None:
        """Tell of a new entry; if the call is known elsewhere already, the entry becomes as it is there."""

    def changed(self, entry: Entry) -> None:
        """Have an entry's changes told soon; never waits."""

    def removed(self, entry: Entry) -> None:
        """Have it told that the call is over for good; never waits."""

    def claim(self, entry: Entry) -> bool:
        """Use the entry's token up; False when its stream is somebody else's already."""

    def await_word(self, entry: Entry) -> None:
        """Wait, for a moment, for what the process that carries the call's stream has to say of its end."""

    def looks_after(self, entry: Entry) -> bool:
        """Whether what is to be done for the call when no media flows is this process's to do, now."""


class Alone:
    """One process: what it does not know, nobody knows."""

    many = False

    def find(self, call_sid: str) -> Entry | None:
        """Return the call's entry, the very dict, or None."""
        return registry.get(call_sid)

    def seek(self, call_sid: str, *, with_token: bool = False) -> Entry | None:  # noqa: ARG002 - it has, or has not
        """Return the same: there is nobody to wait for."""
        return registry.get(call_sid)

    def register(self, entry: Entry) -> None:
        """Nobody else wants to know."""

    def changed(self, entry: Entry) -> None:
        """Nobody else wants to know."""

    def removed(self, entry: Entry) -> None:
        """Nobody else wants to know."""

    def claim(self, entry: Entry) -> bool:  # noqa: ARG002 - it holds for every entry
        """There is nobody else who could have it."""
        return True

    def await_word(self, entry: Entry) -> None:
        """All is known here."""

    def looks_after(self, entry: Entry) -> bool:  # noqa: ARG002 - it holds for every entry
        """There is nobody else to do it."""
        return True


_sharing: Sharing = Alone()


def share(sharing: Sharing) -> None:
    """Share all entries from now on."""
    global _sharing
    _sharing = sharing


def sharing() -> Sharing:
    """Return how entries are shared."""
    return _sharing


def find(call_sid: str) -> Entry | None:
    """Return the call's entry, wherever the call is carried; may wait for other processes, so not for the media path.

    One of a call that is carried elsewhere stays in the dict until the request that has asked for it is answered.
    """
    return _sharing.find(call_sid)


def seek(call_sid: str, *, with_token: bool = False) -> Entry | None:
    """Return the same of a call that is on, so that somebody has it: for what Twilio asks in the middle of one.

    Args:
        call_sid: the call.
        with_token: it is a stream that asks, so that somebody has given it a token.
    """
    return _sharing.seek(call_sid, with_token=with_token)


def changed(entry: Entry) -> None:
    """An entry was changed by something other than the functions of this module."""
    _sharing.changed(entry)


MAX_FORGOTTEN: Final = 10_000
_forgotten: dict[str, None] = {}
"""Calls that are over, oldest first: no call comes back, but a webhook that somebody has kept, or that is late, may."""


def get(call_sid: str) -> Entry | None:
    """Return the call's entry, the very dict, or None."""
    return registry.get(call_sid)


def register(
    call_sid: str, *, direction: Direction, flow: Flow, from_number: str, to_number: str, line: Line = "twilio"
) -> Entry:
    """Return the call's entry, new or, for a webhook that Twilio repeats, the one that exists."""
    entry = registry.get(call_sid)
    if entry is None:
        entry = registry[call_sid] = new_entry(
            call_sid, direction=direction, flow=flow, from_number=from_number, to_number=to_number, line=line
        )
        _sharing.register(entry)
    return entry


def new_entry(
    call_sid: str, *, direction: Direction, flow: Flow, from_number: str, to_number: str, line: Line = "twilio"
) -> Entry:
    """Return an entry that is in no dict yet."""
    return Entry(
        call_sid=call_sid,
        direction=direction,
        line=line,
        business=flow.id,
        flow=flow,
        from_number=from_number,
        to_number=to_number,
        conversation=None,
        token=new_token(),
        created_at=time.monotonic(),
        ended=False,
        end_reason=None,
        ended_at=None,
        terminal_at=None,
        after_stream="hang_up",
        after_stream_at=None,
        after_stream_key="",
        human_left_at=None,
        stream=None,
        stream_lost_at=None,
        streamed_at=None,
        opening="greeting",
        fresh_streams=0,
        model=None,
        wake=None,
        chores_done=set(),
        recorded=False,
        listed=False,
    )


def new_token() -> str:
    """Return an opaque token; it stands in Twilio's call log, so it is good for one stream only."""
    return secrets.token_urlsafe(24)


def other_party(entry: Entry) -> str:
    """Return the number of whoever the bot talks with."""
    return entry["to_number"] if entry["direction"] == "outbound" else entry["from_number"]


def own_number(entry: Entry) -> str:
    """Return the number of the business's own that the call is over."""
    return entry["from_number"] if entry["direction"] == "outbound" else entry["to_number"]


def live_count() -> int:
    """Return how many calls are going on."""
    return sum(not entry["ended"] for entry in registry.values())


def is_ended(call_sid: str) -> bool:
    """Whether the call is over; one that is not known is."""
    entry = registry.get(call_sid)
    return entry is None or entry["ended"]


def end(call_sid: str, reason: EndReason, *, after_stream: AfterStream = "hang_up") -> bool:
    """End a call: the first reason wins. Returns whether this was the first; never creates an entry.

    Order: the flag, then the wake. Callable from any greenlet, and as often as one likes.
    """
    entry = registry.get(call_sid)
    if entry is None or entry["ended"]:
        return False
    entry["ended"] = True
    if entry["end_reason"] is None:  # else it was announced
        entry["end_reason"], entry["ended_at"] = reason, time.monotonic()
    entry["after_stream"] = after_stream
    entry["token"] = None
    wake = entry["wake"]
    if wake is not None:
        wake()
    _sharing.changed(entry)
    return True


def announce(entry: Entry, reason: EndReason, after_stream: AfterStream) -> None:
    """Decide how a live call ends that goes on until Twilio has been told: of a hang-up, its own news is no reason."""
    entry["after_stream"] = after_stream
    if not handed_over(entry):
        entry["end_reason"], entry["ended_at"] = reason, time.monotonic()


def reopen(entry: Entry, opening: str) -> None:
    """Let a call that was handed over come back, for nobody took it: with a fresh stream that opens with `opening`."""
    entry["ended"], entry["end_reason"], entry["ended_at"], entry["human_left_at"] = False, None, None, None
    entry["after_stream"], entry["opening"], entry["token"] = "hang_up", opening, new_token()
    entry["chores_done"].clear()


def handed_over(entry: Entry) -> bool:
    """Whether the call goes on with a human, so that its end for Kav is not the end of the line."""
    return entry["after_stream"] in ("transfer", "announced_transfer")


def remove(entry: Entry) -> None:
    """Forget an entry, if it is still the one in the dict."""
    if registry.get(entry["call_sid"]) is entry:
        del registry[entry["call_sid"]]
        note_over(entry["call_sid"])
        _sharing.removed(entry)


def note_over(call_sid: str) -> None:
    """A call is over for good, whether it was here or not: a webhook of it that comes late opens nothing."""
    _forgotten[call_sid] = None
    while len(_forgotten) > MAX_FORGOTTEN:
        del _forgotten[next(iter(_forgotten))]


def is_forgotten(call_sid: str) -> bool:
    """Whether this call was here before, and is over for good."""
    return call_sid in _forgotten
