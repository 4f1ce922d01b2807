"""Watches a call and tells what happens as it happens: who speaks, who falls silent, what the model then remembers."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rehearsal.audio import SAMPLE_RATE
from rehearsal.hearing import Hearing, Sound
from rehearsal.prompter import BotLine
from rehearsal.twilio import Call
from rehearsal.twilio.stream import MediaStream

LOOK_EVERY_S = 0.02
Who = Literal["kav", "caller", "twilio", "line", "model", "note"]


@dataclass(frozen=True)
class Happening:
    """One line of the conversation: seconds since the call was placed, who, and what they say or do."""

    at_s: float
    who: Who
    text: str
    spoken: bool = False


@dataclass(frozen=True)
class CallerLine:
    """What the caller said, and when its first sound left (monotonic)."""

    text: str
    began_at: float


@dataclass(frozen=True)
class Fin:
    """A socket's end as its stand-in saw it: when the act came that ended it, and when Kav's FIN, if one came."""

    socket: Literal["Twilio's", "the model's"]
    opened_at: float
    caused_at: float | None
    fin_at: float | None

    @property
    def took_ms(self) -> float | None:
        """From the act to the FIN."""
        return None if self.fin_at is None or self.caused_at is None else (self.fin_at - self.caused_at) * 1000


def bot_line(sound: Sound) -> BotLine:
    """The line of a sound."""
    assert isinstance(sound.line, BotLine)
    return sound.line


class Witness:
    """What is known of a call so far; `look` brings it up to date."""

    def __init__(
        self,
        call: Call,
        hearing: Hearing,
        fins: Callable[[], list[Fin]],
        tell: Callable[[Happening], None],
    ) -> None:
        self.hearing = hearing
        self._call, self._tell = call, tell
        self._fins = fins
        self._seen: dict[str, int] = {}
        self._over: set[str] = set()
        self._told: set[tuple[str, object]] = set()
        self.note("line", f"{call.order.from_} calls {call.order.to}")

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    def note(self, who: Who, text: str, at: float | None = None, *, spoken: bool = False) -> None:
        """Tell something; now, unless it was at another time."""
        at = time.monotonic() if at is None else at
        self._tell(Happening(at - self._call.placed_at, who, text, spoken))

    def look(self) -> None:
        """Take in what has come since the last look, and tell it."""
        for number, stream in enumerate(self._call.streams, 1):
            if number > 1 and self._first("stream", number):
                self.note("line", f"Twilio opens stream {number}", stream.started_at)
            self._hear(stream)
        for sound in self.hearing.sounds:
            self._tell_sound(sound)
        for number, text in enumerate(self._call.said):
            if self._first("announcement", number):
                self.note("twilio", text, spoken=True)
        self._tell_fins(self._fins())
        if self._call.ended_at is not None and self._first("end", ""):
            self.note("line", f"the call is over: {self._call.status}", self._call.ended_at)

    def _first(self, what: str, which: object) -> bool:
        """Whether this is told for the first time."""
        known = (what, which) in self._told
        self._told.add((what, which))
        return not known

    def _hear(self, stream: MediaStream) -> None:
        start = self._seen.get(stream.sid, 0)
        self._seen[stream.sid] = len(stream.received)
        for message in stream.received[start:]:
            if message.event == "media":
                self.hearing.media(message.at, message.audio)
            elif message.event == "clear":
                self.hearing.clear(message.at)
        if stream.over.is_set() and stream.sid not in self._over:
            self._over.add(stream.sid)
            heard = stream.playback.heard(time.monotonic())
            self.hearing.over(heard[-1].end_s if heard else 0.0)

    def _tell_sound(self, sound: Sound) -> None:
        now, line = time.monotonic(), bot_line(sound)
        if sound.sounded and sound.began_at <= now and self._first("begun", id(sound)):
            self.note("kav", line.text, sound.began_at, spoken=True)
        if sound.cut and sound.sounded and self._first("cut", id(sound)):
            self._tell_cut(sound)
        item = line.item
        if item is not None and item.truncated_at is not None and self._first("truncated", id(sound)):
            self.note("note", f"of that, the model remembers {item.truncated_at / 1000:.2f} s")

    def _tell_cut(self, sound: Sound) -> None:
        whole_s = len(sound.line.audio) / SAMPLE_RATE
        what = "Kav falls silent" if sound.cut == "cleared" else "Kav is cut off"
        heard_s = sound.heard_ms(time.monotonic()) / 1000
        self.note("note", f"{what}: {heard_s:.2f} of {whole_s:.2f} s were heard", sound.ends_at)

    def _tell_fins(self, fins: list[Fin]) -> None:
        """Tell how soon the sockets were closed, once all are that were open when somebody ended something."""
        for cause in sorted({fin.caused_at for fin in fins if fin.caused_at is not None}):
            ended = [fin for fin in fins if fin.opened_at < cause and (fin.fin_at is None or fin.fin_at >= cause)]
            took = [fin.took_ms for fin in ended if fin.took_ms is not None]
            if len(took) == len(ended) and self._first("closed", cause):
                last = max(fin.fin_at for fin in ended if fin.fin_at is not None)
                self.note("note", f"sockets closed within {max(took):.0f} ms", last)
