"""How soon both sockets are closed after a call's end, whatever ended it, while others talk.

From the trigger (for a status callback: when the request was sent) until close frame and FIN were seen on both sockets.
A peer that has reset or closed its own side is asked for what can still come to it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.caller import Caller, MediaSocket
from bench.endpoint import Endpoint
from bench.model import ModelSession
from bench.report import Report, Table, spread_ms
from bench.world import World, world

LIVE = 50
ENDS = 500
QUICK_ENDS = 100
EVERY_S = 0.08
"""Pause between ends; each is replaced by a new call at once."""
QUIET_S = 0.3
"""How long no media, or a mute model, lasts before the trigger."""
LIMIT_MS = 100.0
LOST_IS_OVER = {"MODEL_RECONNECTS": "0", "MODEL_REST_S": "0"}
"""A lost model ends its call, as it does when it was lost too often, and is not left alone for it."""
PATIENCE_S = 3.0


@dataclass(slots=True)
class End:
    """One end: its trigger, and what must be seen."""

    kind: str
    media: MediaSocket
    session: ModelSession
    trigger: Callable[[Caller, MediaSocket, ModelSession], float]
    triggered_at: float = 0.0
    close_frames: list[Endpoint] = field(default_factory=list)
    fins: list[Endpoint] = field(default_factory=list)

    @property
    def seen_s(self) -> float | None:
        """Seconds from the trigger until all was seen; None before that."""
        times = [side.close_frame_at for side in self.close_frames] + [side.fin_at for side in self.fins]
        known = [at for at in times if at is not None]
        return max(known) - self.triggered_at if len(known) == len(times) else None

    def missing(self) -> str:
        """Say what was not seen."""
        frames = [type(side).__name__ for side in self.close_frames if side.close_frame_at is None]
        fins = [type(side).__name__ for side in self.fins if side.fin_at is None]
        return f"no close frame at {frames}, no FIN at {fins}"


def _status(caller: Caller, _media: MediaSocket, _session: ModelSession) -> float:
    return caller.status("completed")


def _stop(_caller: Caller, media: MediaSocket, _session: ModelSession) -> float:
    return media.stop()


def _close_frame(_caller: Caller, media: MediaSocket, _session: ModelSession) -> float:
    at = time.time()
    media.send_close()
    return at


def _reset(_caller: Caller, media: MediaSocket, _session: ModelSession) -> float:
    at = time.time()
    media.connection.reset()
    return at


def _model_fin(_caller: Caller, _media: MediaSocket, session: ModelSession) -> float:
    session.stop_talking()
    at = time.time()
    session.connection.half_close()
    return at


def _model_reset(_caller: Caller, _media: MediaSocket, session: ModelSession) -> float:
    at = time.time()
    session.connection.reset()
    session.over()
    return at


def _model_close(_caller: Caller, _media: MediaSocket, session: ModelSession) -> float:
    at = time.time()
    session.send_close()
    return at


def _as_it_is(_media: MediaSocket, _session: ModelSession) -> None: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to end. `sides`: who must see (close frame, FIN): m = media socket, o = the model's."""

    name: str
    trigger: Callable[[Caller, MediaSocket, ModelSession], float]
    close_frames: str = "mo"
    fins: str = "mo"
    prepare: Callable[[MediaSocket, ModelSession], None] = _as_it_is


def _no_media(media: MediaSocket, _session: ModelSession) -> None:
    media.stop_sending()


def _mute(_media: MediaSocket, session: ModelSession) -> None:
    session.mute = True


def _stubborn(media: MediaSocket, session: ModelSession) -> None:
    media.answers_close = session.answers_close = False


KINDS = (
    Kind("status, media flowing", _status),
    Kind("status, no media", _status, prepare=_no_media),
    Kind("status, model mute", _status, prepare=_mute),
    Kind("status, peers never answer", _status, prepare=_stubborn),
    Kind("stop", _stop),
    Kind("caller's close frame", _close_frame),
    Kind("caller's RST", _reset, close_frames="o", fins="o"),
    Kind("model's FIN", _model_fin, close_frames="m"),
    Kind("model's RST", _model_reset, close_frames="m", fins="m"),
    Kind("model's close frame", _model_close),
)


class Ender:
    """Ends the oldest call again and again, each time in another way."""

    def __init__(self, a_world: World, count: int) -> None:
        self.ends: list[End] = []
        self._world = a_world
        self._count = count
        self._begun = 0
        self._timer = a_world.loop.later(0.0, self._next, period_s=EVERY_S)

    @property
    def done(self) -> bool:
        """Whether all ends were triggered, and seen or given up."""
        if len(self.ends) < self._count:
            return False
        now = time.time()
        return all(end.seen_s is not None or now - end.triggered_at > PATIENCE_S for end in self.ends)

    def _next(self) -> None:
        if self._begun >= self._count:
            self._timer.cancelled = True
            return
        caller = next((caller for caller in self._world.talking if self._world.session(caller)), None)
        if caller is None or len(self._world.talking) < LIVE // 2:
            return
        kind = KINDS[self._begun % len(KINDS)]
        self._begun += 1
        media, session = self._world.media(caller), self._world.model.by_call[caller.number]
        self._world.retire(caller)
        kind.prepare(media, session)
        self._world.loop.later(QUIET_S, lambda: self._trigger(kind, caller, media, session))

    def _trigger(self, kind: Kind, caller: Caller, media: MediaSocket, session: ModelSession) -> None:
        sides: dict[str, Endpoint] = {"m": media, "o": session}
        end = End(kind.name, media, session, kind.trigger)
        end.close_frames = [sides[side] for side in kind.close_frames]
        end.fins = [sides[side] for side in kind.fins]
        end.triggered_at = kind.trigger(caller, media, session)
        self.ends.append(end)
        self._world.place(1)


def run(*, quick: bool) -> Report:
    report = Report("ends")
    with world(LOST_IS_OVER) as a_world:
        a_world.place(LIVE)
        a_world.until_talking()
        a_world.loop.run(1.0)
        ender = Ender(a_world, QUICK_ENDS if quick else ENDS)
        a_world.loop.run(120.0, until=lambda: ender.done)
        a_world.until_talking()
        _conclude(report, ender.ends)
    return report


def _conclude(report: Report, ends: list[End]) -> None:
    table = Table(report, f"ends: trigger to close frame and FIN on both sockets, ms, {LIVE} live calls")
    for kind in (*(kind.name for kind in KINDS), ""):
        chosen = [end for end in ends if kind in (end.kind, "")]
        seconds = [end.seen_s for end in chosen if end.seen_s is not None]
        table.row(kind=f"{kind or 'all':28}", **spread_ms(seconds), never_seen=len(chosen) - len(seconds))
    seconds = [end.seen_s for end in ends if end.seen_s is not None]
    report.promise("end to FIN on both sockets, p99", spread_ms(seconds)["p99"], LIMIT_MS)
    report.promise("ends not seen", len(ends) - len(seconds), 0, "ends")
    for end in ends:
        if end.seen_s is None:
            print(f"    {end.kind}: {end.missing()}")
