"""An entry as fields of text, and back: what of a call other processes must know, without its sockets.

Each field is JSON. Of a field that this process has not changed since it last heard of it, the others' word stands;
of `end` and `terminal` the first word, for a call ends once. Moments are of Redis's clock.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
from gevent.lock import BoundedSemaphore

import stream_registry
from kav.call.actions import EndReason
from kav.call.aftermath import Chore
from kav.call.events import Direction
from kav.call.flow import Flow
from kav.call.plain import UnreadableError, loads, pack, unpack
from kav.call.travel import from_plain, to_pages, to_plain
from realtime_prompt_builder import Phrases
from stream_registry import AfterStream, Entry, Line

Fields = dict[str, str]
"""By name, each JSON text."""

NULL: Final = "null"
TRUE: Final = "true"

MOMENTS: Final = {
    "terminal": "terminal_at",
    "asked": "after_stream_at",
    "lost": "stream_lost_at",
    "streamed": "streamed_at",
    "human_left": "human_left_at",
}
PLAIN: Final = {
    "token": "token",
    "asked_key": "after_stream_key",
    "opening": "opening",
    "fresh": "fresh_streams",
    "listed": "listed",
    "recorded": "recorded",
}

KINDS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(MOMENTS, float | None),
    "token": str | None,
    "asked_key": str,
    "opening": str,
    "fresh": int,
    "listed": bool,
    "recorded": bool,
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """What never changes of a call, beside its script."""

    call_sid: str
    direction: Direction
    line: Line
    from_number: str
    to_number: str
    created_at: float


class End(NamedTuple):
    """How a call has ended."""

    reason: EndReason
    after_stream: AfterStream
    at: float


@dataclass(slots=True)
class Known:
    """What Redis is known to have of a call, and who uses its entry here."""

    fields: Fields = field(default_factory=dict)
    pages: Fields = field(default_factory=dict)
    """Pages of its conversation that are still to be told."""
    users: int = 0
    """Requests that are about it."""
    refused: bool = False
    """Redis is there, and takes nothing about it: nobody else can be agreed with."""
    unreadable: set[str] = field(default_factory=set)
    """Fields that were complained of: they are read once a second."""
    standing: object = None
    """Where its script stood when that was last looked at."""
    settled: object = None
    """How its entry was when Redis had all of it, if it is over; None: there may be news."""
    lock: BoundedSemaphore = field(default_factory=BoundedSemaphore)
    """One conversation with Redis about a call at a time, so that answers are taken in their order."""


@dataclass(frozen=True, slots=True)
class Codec:
    """Writes and reads entries for one process."""

    me: str
    """The process's id."""
    phrases: Phrases
    shift: Callable[[], float]

    def write(self, entry: Entry, known: Mapping[str, str]) -> Fields:
        """Return an entry's fields as they are here; `known` are those that Redis is known to have."""
        state: dict[str, Any] = {name: entry[key] for name, key in PLAIN.items()}  # type: ignore[literal-required]
        state |= {name: self._told(entry[key]) for name, key in MOMENTS.items()}  # type: ignore[literal-required]
        state["chores"] = sorted(chore.name for chore in entry["chores_done"])
        state["end"] = self._end(entry)
        written = {name: json.dumps(value, ensure_ascii=False) for name, value in state.items()}
        written["owner"] = known.get("owner", json.dumps(self.me))
        written["stream"] = self._stream(entry, known)
        if entry["streamed_at"] is not None:
            written["admitted"] = TRUE  # also where Redis was away when it was let in
        if "call" not in known:
            written |= self._identity(entry)
        talk = entry["conversation"]
        if talk is not None and self._tells_conversation(entry, known):
            written["conversation"] = _json(to_plain(talk, self.shift()))
        return written

    def state(self, entry: Entry) -> object:
        """Return what is told of an entry whose stream is over, to be compared and not written: that is quick."""
        told = tuple(entry[key] for key in (*PLAIN.values(), *MOMENTS.values()))  # type: ignore[literal-required]
        end = (entry["ended"], entry["end_reason"], entry["after_stream"], entry["ended_at"])
        return told, end, frozenset(entry["chores_done"]), entry["stream"] is None

    def pages(self, entry: Entry, known: Mapping[str, str]) -> Fields:
        """Return the pages of an entry's conversation that have changed since the last call of this; all, at first."""
        talk = entry["conversation"]
        if talk is None or not self._tells_conversation(entry, known):
            return {}
        moved = talk.chronicle.moved()
        told = to_pages(moved if "conversation" in known else talk.chronicle.pages())
        return {name: _json(page) for name, page in told.items()}

    def _end(self, entry: Entry) -> object:
        ended_at = entry["ended_at"]
        if not entry["ended"] or ended_at is None:
            return None
        return [entry["end_reason"], entry["after_stream"], self._told(ended_at)]

    def _stream(self, entry: Entry, known: Mapping[str, str]) -> str:
        mine = json.dumps(self.me)
        if entry["stream"] is not None:
            return mine
        held = known.get("stream", NULL)
        return NULL if held == mine else held

    def _identity(self, entry: Entry) -> Fields:
        identity = Identity(
            *(entry["call_sid"], entry["direction"], entry["line"], entry["from_number"], entry["to_number"]),
            created_at=self._told(entry["created_at"]) or 0.0,
        )
        return {
            "call": _json(pack(identity)),
            "business": json.dumps(entry["business"]),
            "flow": _json(pack(entry["flow"])),
        }

    def _tells_conversation(self, entry: Entry, known: Mapping[str, str]) -> bool:
        """Whether it may have changed here: it does while a stream of it is here, and with that stream's end."""
        streams = entry["stream"] is not None or known.get("stream") == json.dumps(self.me)
        return streams or "conversation" not in known

    def read(self, call_sid: str, told: Mapping[str, str]) -> Entry:
        """Return a new entry for a call that is carried elsewhere. Raises UnreadableError."""
        if "call" not in told or "flow" not in told:
            raise UnreadableError("a call without its numbers, or without its script")
        identity: Identity = unpack(Identity, loads(told["call"]))
        flow: Flow = unpack(Flow, loads(told["flow"]))
        if identity.call_sid != call_sid:
            raise UnreadableError("another call's numbers")
        entry = stream_registry.new_entry(
            call_sid,
            direction=identity.direction,
            line=identity.line,
            flow=flow,
            from_number=identity.from_number,
            to_number=identity.to_number,
        )
        entry["created_at"] = identity.created_at - self.shift()
        return entry

    def read_conversation(self, entry: Entry, told: str, pages: Mapping[str, str]) -> None:
        """Let the entry's conversation be as it was told; one of another release is begun anew."""
        try:
            read = {name: loads(text) for name, text in pages.items()}
            entry["conversation"] = from_plain(loads(told), read, entry["flow"], self.phrases.texts, self.shift())
        except UnreadableError as error:
            log.error("its conversation cannot be read: %s", error, extra={"call_sid": entry["call_sid"]})

    def take_or_complain(self, entry: Entry, known: Known, name: str, text: str) -> None:
        """Let one field of the entry be as it was told; say it once of one that cannot be read, and leave it."""
        try:
            self.take(entry, name, text)
        except UnreadableError as error:
            if name not in known.unreadable:
                known.unreadable.add(name)
                log.error("its %s cannot be read: %s", name, error, extra={"call_sid": entry["call_sid"]})

    def take(self, entry: Entry, name: str, text: str) -> None:
        """Let one field of the entry be as it was told. Raises UnreadableError, and leaves it as it was."""
        if name in MOMENTS:
            entry[MOMENTS[name]] = self._here(unpack(KINDS[name], loads(text)))  # type: ignore[literal-required]
        elif name in PLAIN:
            entry[PLAIN[name]] = unpack(KINDS[name], loads(text))  # type: ignore[literal-required]
        elif name == "chores":
            done: list[str] = unpack(list[str], loads(text))
            entry["chores_done"] = {Chore[chore] for chore in done if chore in Chore.__members__}
        elif name == "end":
            self._take_end(entry, text)

    def _take_end(self, entry: Entry, text: str) -> None:
        if text == NULL:  # it was handed over, and came back
            entry["ended"], entry["end_reason"], entry["ended_at"] = False, None, None
            entry["after_stream"], entry["human_left_at"] = "hang_up", None
            return
        reason, after_stream, at = self._end_of(entry, text)
        if not stream_registry.end(entry["call_sid"], reason, after_stream=after_stream):
            entry["ended"], entry["end_reason"], entry["after_stream"] = True, reason, after_stream
        entry["ended_at"] = self._here(at)

    def _end_of(self, entry: Entry, text: str) -> End:
        """Return how a call has ended; one whose end cannot be read is over all the same: nobody pays for it."""
        try:
            return End(*unpack(tuple[EndReason, AfterStream, float], loads(text)))
        except UnreadableError as error:
            log.error("how it ended cannot be read: %s", error, extra={"call_sid": entry["call_sid"]})
            return End("error", "hang_up", time.monotonic() + self.shift())

    def _told(self, moment: float | None) -> float | None:
        return None if moment is None else round(moment + self.shift(), 3)

    def _here(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self.shift()


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half a character, which no encoding has: words are told as they came
        return json.dumps(value)
