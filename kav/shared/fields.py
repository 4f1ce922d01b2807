"""An entry as fields of text, and back: what of a call other processes must know, without its sockets.

Each field is JSON. Of a field that this process has not changed since it last heard of it, the others' word stands;
of `end` and `terminal` the first word, for a call ends once. Moments are of Redis's clock.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from gevent.lock import BoundedSemaphore

import stream_registry
from kav.call.aftermath import Chore
from kav.call.flow import Flow
from kav.call.plain import UnreadableError, pack, unpack
from kav.call.travel import from_plain, to_pages, to_plain
from realtime_prompt_builder import Phrases
from stream_registry import Entry

Fields = dict[str, str]
"""By name, each JSON text."""

NULL: Final = "null"
TRUE: Final = "true"

IDENTITY: Final = ("call_sid", "direction", "line", "from_number", "to_number")
"""What never changes, beside the script and the time."""

MOMENTS: Final = {
    "terminal": "terminal_at",
    "asked": "after_stream_at",
    "lost": "stream_lost_at",
    "streamed": "streamed_at",
}
PLAIN: Final = {
    "token": "token",
    "asked_key": "after_stream_key",
    "opening": "opening",
    "fresh": "fresh_streams",
    "listed": "listed",
}

log = logging.getLogger(__name__)


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
    standing: object = None
    """Where its script stood when that was last looked at."""
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
        identity: dict[str, Any] = {key: entry[key] for key in IDENTITY}
        identity["created_at"] = self._told(entry["created_at"])
        return {
            "call": json.dumps(identity, ensure_ascii=False),
            "business": json.dumps(entry["business"]),
            "flow": _json(pack(entry["flow"])),
        }

    def _tells_conversation(self, entry: Entry, known: Mapping[str, str]) -> bool:
        """Whether it may have changed here: it does while a stream of it is here, and with that stream's end."""
        streams = entry["stream"] is not None or known.get("stream") == json.dumps(self.me)
        return streams or "conversation" not in known

    def read(self, told: Mapping[str, str]) -> Entry:
        """Return a new entry for a call that is carried elsewhere. Raises UnreadableError."""
        try:
            identity = json.loads(told["call"])
            flow: Flow = unpack(Flow, json.loads(told["flow"]))
            entry = stream_registry.new_entry(
                **{key: identity[key] for key in IDENTITY},
                flow=flow,
            )
            entry["created_at"] = identity["created_at"] - self.shift()
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableError(f"a call: {error!r}") from error
        return entry

    def read_conversation(self, entry: Entry, told: str, pages: Mapping[str, str]) -> None:
        """Let the entry's conversation be as it was told; one of another release is begun anew."""
        try:
            read = {name: json.loads(text) for name, text in pages.items()}
            talk = from_plain(json.loads(told), read, entry["flow"], self.phrases.texts, self.shift())
            entry["conversation"] = talk
        except ValueError as error:  # UnreadableError among them
            log.error("its conversation cannot be read: %s", error, extra={"call_sid": entry["call_sid"]})

    def take(self, entry: Entry, name: str, text: str) -> None:
        """Let one field of the entry be as it was told."""
        value = json.loads(text)
        if name in MOMENTS:
            entry[MOMENTS[name]] = self._here(value)  # type: ignore[literal-required]
        elif name in PLAIN:
            entry[PLAIN[name]] = value  # type: ignore[literal-required]
        elif name == "chores":
            entry["chores_done"] = {Chore[done] for done in value if done in Chore.__members__}
        elif name == "end":
            self._take_end(entry, value)

    def _take_end(self, entry: Entry, end: list[Any] | None) -> None:
        if end is None:  # it was handed over, and came back
            entry["ended"], entry["end_reason"], entry["ended_at"] = False, None, None
            entry["after_stream"] = "hang_up"
            return
        reason, after_stream, _ = end
        if not stream_registry.end(entry["call_sid"], reason, after_stream=after_stream):
            entry["ended"], entry["end_reason"], entry["after_stream"] = True, reason, after_stream
        entry["ended_at"] = self._here(end[2])

    def _told(self, moment: float | None) -> float | None:
        return None if moment is None else round(moment + self.shift(), 3)

    def _here(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self.shift()


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half a character, which no encoding has: words are told as they came
        return json.dumps(value)
