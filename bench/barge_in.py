"""How soon the bot is silent when the caller speaks, and whether the model remembers what was really heard.

The model's server says `speech_started` at random moments of replies that it sends four times faster than they play,
so that most is still in Twilio's buffer and some replies are already done. The truth is the playback buffer's.
"""

import random
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.caller import Caller
from bench.model import Speech
from bench.report import Report, Table, percentile, spread_ms
from bench.world import World, world

LIVE = 50
SPEECH = Speech(delta_ms=200, speed=4.0, length_s=5.0)
TURN_S = 0.4
"""How long the caller speaks."""
DELAYS_S = (0.0, 0.1)
CLEAR_P50_MS, CLEAR_P99_MS = 10.0, 50.0
EXACT_MS = 20.0
"""How far below the truth `audio_end_ms` may be without a network delay; with one, the round trip more."""
UNSURE_S = 0.05
"""A reply that is so near its end may or may not be over when Kav hears of the speech."""


@dataclass(slots=True)
class BargeIn:
    """One interruption, and what was seen of it."""

    spoke_at: float
    response: int
    generating: bool
    unplayed_s: float
    cleared_at: float | None = None
    cancelled_at: float | None = None
    truncated_at: float | None = None
    audio_end_ms: int = 0
    deleted: bool = False
    heard_ms: float = 0.0
    """The truth, at the moment that `clear` reached Twilio's buffer."""


@dataclass(slots=True)
class Interrupter:
    """Speaks into the bot's replies, in every call, for as long as the world runs."""

    world: World
    barge_ins: list[BargeIn] = field(default_factory=list)
    dice: random.Random = field(default_factory=lambda: random.Random(42))
    _open: dict[int, BargeIn] = field(default_factory=dict)
    """The newest interruption of each call."""

    def take(self, caller: Caller) -> None:
        """A call has begun to talk: listen to both its ends."""
        if not self.world.loop.run(2.0, until=lambda: self.world.session(caller) is not None):
            return
        media, session = self.world.media(caller), self.world.model.by_call[caller.number]
        media.on_clear = partial(self._cleared, caller)
        session.on_event = partial(self._event, caller)
        self._plan(caller)

    def _plan(self, caller: Caller) -> None:
        self.world.loop.later(self.dice.uniform(0.1, SPEECH.length_s + 0.3), lambda: self._speak(caller))

    def _speak(self, caller: Caller) -> None:
        media, session = self.world.media(caller), self.world.session(caller)
        if session is None or session.response is None:
            return
        response, generating = session.response.number, session.response.active
        unplayed_s = media.playback.end_s - time.time()
        record = BargeIn(0.0, response, generating, unplayed_s)
        self._open[caller.number] = record
        record.spoke_at = session.caller_speaks()
        self.barge_ins.append(record)
        self.world.loop.later(TURN_S, session.caller_is_done)

    def _cleared(self, caller: Caller, arrived_at: float) -> None:
        record = self._open.get(caller.number)
        if record is None or record.cleared_at is not None:
            return
        media = self.world.media(caller)
        record.cleared_at = arrived_at
        record.heard_ms = media.playback.heard(arrived_at + caller.delay_s, record.response) / 8
        media.dead_response = record.response

    def _event(self, caller: Caller, kind: str, event: dict[str, Any], arrived_at: float) -> None:
        record = self._open.get(caller.number)
        if kind == "response.create":
            self._plan(caller)
        if record is None:
            return
        if kind == "response.cancel":
            record.cancelled_at = record.cancelled_at or arrived_at
        elif kind == "conversation.item.truncate" and event["item_id"] == f"item_{record.response:08d}":
            record.truncated_at, record.audio_end_ms = arrived_at, event["audio_end_ms"]
        elif kind == "conversation.item.delete" and event["item_id"] == f"item_{record.response:08d}":
            record.deleted = True


def run(*, quick: bool) -> Report:
    report = Report("barge-in")
    for delay_s in DELAYS_S:
        with world() as a_world:
            a_world.delay_s, a_world.model.speech = delay_s, SPEECH
            a_world.place(LIVE)
            a_world.until_talking()
            interrupter = Interrupter(a_world)
            for caller in a_world.talking:
                interrupter.take(caller)
            a_world.loop.run(5.0 if quick else 30.0)
            late_bytes = sum(a_world.media(caller).late_bytes for caller in a_world.talking)
            _conclude(report, interrupter.barge_ins, delay_s, late_bytes, a_world.measure.refusals)
    return report


def _since(record: BargeIn, at: float | None) -> float:
    return (at or record.spoke_at) - record.spoke_at


def _conclude(report: Report, records: list[BargeIn], delay_s: float, late_bytes: int, refusals: list[str]) -> None:
    delay = f"{delay_s * 1000:.0f} ms each way"
    due = [
        record for record in records if record.unplayed_s > UNSURE_S + 2 * delay_s and record.spoke_at < _last(records)
    ]
    clear = [_since(record, record.cleared_at) for record in records if record.cleared_at]
    cancel = [_since(record, record.cancelled_at) for record in records if record.cancelled_at]
    truncate = [_since(record, record.truncated_at) for record in records if record.truncated_at]
    table = Table(report, f"barge-in: speech_started to ..., ms, {LIVE} live calls, {delay}")
    for name, seconds in (("clear", clear), ("response.cancel", cancel), ("item.truncate", truncate)):
        table.row(what=f"{name:16}", **spread_ms(seconds))
    cut = [record for record in records if record.cleared_at and (record.truncated_at or record.deleted)]
    errors = [record.audio_end_ms - record.heard_ms for record in cut]
    _print_errors(report, errors, delay)
    report.promise(f"clear, p50, {delay}", spread_ms(clear)["p50"], CLEAR_P50_MS)
    report.promise(f"clear, p99, {delay}", spread_ms(clear)["p99"], CLEAR_P99_MS)
    report.promise(f"clear missing though audio was unplayed, {delay}", sum(not r.cleared_at for r in due), 0, "times")
    report.promise(f"bytes of an old response after clear, {delay}", late_bytes, 0, "bytes")
    report.promise(f"audio_end_ms above what was heard, {delay}", max(errors, default=0.0), 0)
    report.promise(f"audio_end_ms below what was heard, {delay}", -min(errors, default=0.0), EXACT_MS + 2000 * delay_s)
    report.promise(f"what a model would have refused, {delay}", len(refusals), 0, "events")


def _last(records: list[BargeIn]) -> float:
    """Return when the last interruptions are too young to be judged."""
    return max((record.spoke_at for record in records), default=0.0) - 1.0


def _print_errors(report: Report, errors: list[float], delay: str) -> None:
    table = Table(report, f"audio_end_ms minus what was heard, ms, {delay}")
    shares = {"min": 0.0, "p1": 0.01, "p50": 0.5, "p99": 0.99, "max": 1.0}
    table.row(n=len(errors), **{name: round(percentile(errors, share), 2) for name, share in shares.items()})
