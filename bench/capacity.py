"""How many talking calls one core carries, and what a frame costs.

A call talks both ways all the time: 50 frames a second from the caller, and as much audio from the model. The number
of calls rises by steps until the added latency or a lost frame says stop.
"""

import itertools
import math
import time
from dataclasses import dataclass

from bench.model import Speech
from bench.report import Report, Table, percentile, spread_ms
from bench.world import World, world

STEPS = (50, 100, 200, 320, 360, 400, 450, 500, 550, 600, 650, 700, 800)
QUICK_STEPS = (100, 320)
LATENCY_LIMIT_S = 0.020
PROMISED_CALLS = 320
ATTEMPTS = 3
FRAMES_PER_S = 50
PLANNED_SHARE = 0.6
"""Of a core: what one plans with; the rest is for bursts, set-ups and neighbours."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to be loaded."""

    tls: bool
    delta_ms: int

    def __str__(self) -> str:
        return f"{'wss' if self.tls else 'ws'} to the model, deltas of {self.delta_ms} ms"


VARIANTS = (Variant(False, 200), Variant(True, 200), Variant(False, 20), Variant(True, 20))


@dataclass(frozen=True, slots=True)
class Step:
    """What was measured with `calls` calls for `wall_s`."""

    calls: int
    wall_s: float
    cpu_s: float
    others_s: float
    own_cpu_s: float
    frames: int
    lost: int
    to_model_s: list[float]
    to_caller_s: list[float]
    lateness_s: list[float]
    rss_bytes: int

    @property
    def good(self) -> bool:
        """Whether every frame came, and 99 of 100 in time, both ways."""
        slow = max(percentile(self.to_model_s, 0.99), percentile(self.to_caller_s, 0.99))
        return self.lost == 0 and slow < LATENCY_LIMIT_S

    @property
    def share(self) -> float:
        """Kav's share of its core."""
        return self.cpu_s / self.wall_s

    @property
    def us_per_frame(self) -> float:
        return self.cpu_s / self.frames * 1e6 if self.frames else math.nan


def run(*, quick: bool) -> Report:
    report = Report("capacity")
    for variant in VARIANTS[:2] if quick else VARIANTS:
        _measure_variant(report, variant, QUICK_STEPS if quick else STEPS, 2.0 if quick else 4.0)
    return report


def _measure_variant(report: Report, variant: Variant, steps: tuple[int, ...], seconds: float) -> None:
    table = Table(report, f"capacity, {variant}: added latency in ms; shares of a core in %")
    good: list[Step] = []
    with world(tls=variant.tls) as a_world:
        a_world.model.speech = Speech(delta_ms=variant.delta_ms)
        idle_bytes = a_world.kav.rss_bytes()
        for calls in steps:
            step = _best_of(a_world, calls, seconds, table)
            if not step.good:
                break
            good.append(step)
        missing = _missing_at_the_end(a_world)
    _conclude(report, variant, good, idle_bytes, missing)


def _best_of(a_world: World, calls: int, seconds: float, table: Table) -> Step:
    """Measure a step, and again if it is not good: the machine may have been busy with something else."""
    for attempt in range(ATTEMPTS):
        step = _measure_step(a_world, calls, seconds)
        _print(table, step, "" if attempt == 0 else f"attempt {attempt + 1}")
        if step.good:
            break
    return step


def _measure_step(a_world: World, calls: int, seconds: float) -> Step:
    a_world.place(calls - len(a_world.talking))
    a_world.until_talking()
    a_world.loop.run(1.5)
    kav, measure, loop = a_world.kav, a_world.measure, a_world.loop
    measure.restart()
    loop.lateness_s = type(loop.lateness_s)("d")
    lost, heard = measure.frames_lost, a_world.model.frames_heard
    began, cpu, busy, own = time.time(), kav.cpu_s(), kav.core_busy_s(), time.process_time()
    loop.run(seconds)
    cpu, busy, own = kav.cpu_s() - cpu, kav.core_busy_s() - busy, time.process_time() - own
    return Step(
        calls=calls,
        wall_s=time.time() - began,
        cpu_s=cpu,
        others_s=max(0.0, busy - cpu),
        own_cpu_s=own,
        frames=a_world.model.frames_heard - heard,
        lost=measure.frames_lost - lost + len(measure.refusals),
        to_model_s=list(measure.to_model_s),
        to_caller_s=list(measure.to_caller_s),
        lateness_s=list(loop.lateness_s),
        rss_bytes=kav.rss_bytes(),
    )


def _print(table: Table, step: Step, note: str) -> None:
    to_model, to_caller = spread_ms(step.to_model_s), spread_ms(step.to_caller_s)
    table.row(
        calls=step.calls,
        us_frame=round(step.us_per_frame, 1),
        kav_cpu=round(step.share * 100, 1),
        others=round(step.others_s / step.wall_s * 100, 1),
        to_model_p50=to_model["p50"],
        p99=to_model["p99"],
        max=to_model["max"],
        to_caller_p50=to_caller["p50"],
        p99_=to_caller["p99"],
        max_=to_caller["max"],
        lost=step.lost,
        rss_mb=round(step.rss_bytes / 1e6),
        bench_cpu=round(step.own_cpu_s / step.wall_s * 100),
        bench_late_p99=round(percentile(step.lateness_s, 0.99) * 1000, 2),
        verdict=("ok" if step.good else "!!") + f" {note}",
    )


def _missing_at_the_end(a_world: World) -> int:
    """Let the callers fall silent, wait, and count frames that were sent and never came."""
    for caller in a_world.talking:
        a_world.media(caller).stop_sending()
    a_world.loop.run(2.0)
    sent = sum(a_world.media(caller).frames for caller in a_world.talking)
    return sent - a_world.model.frames_heard


def _conclude(report: Report, variant: Variant, good: list[Step], idle_bytes: int, missing: int) -> None:
    best = good[-1] if good else None
    planned = planned_calls(good)
    memory_kb = (best.rss_bytes - idle_bytes) / best.calls / 1000 if best else math.nan
    print(
        f"carries {best.calls if best else 0} calls; plan with {planned:.0f} (at {PLANNED_SHARE:.0%} of a core); ",
        end="",
    )
    print(f"{memory_kb:.0f} KB a call; {missing} frames missing at the end")
    report.rows.append({"table": f"capacity, {variant}", "planned_calls": planned, "kb_per_call": memory_kb})
    if variant == VARIANTS[0]:
        calls = float(best.calls if best else 0)
        report.promise(f"calls a core, {variant}", calls, PROMISED_CALLS, "calls", at_least=True)
    report.promise(f"frames lost, {variant}", max((step.lost for step in good), default=0) + missing, 0, "frames")


def planned_calls(steps: list[Step]) -> float:
    """Return how many calls take `PLANNED_SHARE` of a core, between the two steps that lie around it."""
    points = [(0.0, 0.0), *((step.share, float(step.calls)) for step in steps)]
    for (low, fewer), (high, more) in itertools.pairwise(points):
        if low <= PLANNED_SHARE <= high:
            return fewer + (more - fewer) * (PLANNED_SHARE - low) / (high - low)
    return points[-1][1]
