"""What must be true after a storm, whatever has failed; looked at from outside."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.report import Report, Table, percentile
from chaos import records
from chaos.caller import Talker
from chaos.ghosts import Ghosts, Stillness, left_open
from chaos.process import Figures
from chaos.servers import Servers
from chaos.troubles import OF_A_CALL, Deck
from kav.shared.link import MAX_CONNECTIONS
from rehearsal.world import World

GHOST_MS: Final = 1000.0
"""Close frame and FIN on both sockets, in a storm, on a busy machine: what a human would still call at once."""

CROSSED: Final = ("cancel-not-active",)
"""Crosses with the model's own end on the wire, above all when a process stands still; to the API it is no error."""

GROWS: Final = {"pooled connections": 2 * MAX_CONNECTIONS, "threads": 12, "rss_mb": 32, "open sockets": 3}
"""What may be there after a storm beyond what was before: what pools keep or let go as they like (connections to Redis,
the database and Twilio's REST API; threads that look up names), what an allocator keeps of so many calls, sockets of
connections that were given up while they were being made, until somebody collects the garbage."""

MEASURED: Final = 10
"""Ends whose ghost must have been measured, or nothing was shown."""

MOST_KINDS: Final = 0.8
"""Of the kinds of trouble, how many take hold in a short storm; in a long one it is all of them."""

LONG: Final = 8
"""Times that the kinds of trouble must have been dealt for a storm to be a long one."""


@dataclass(frozen=True)
class Seen:
    """Everything that was seen of a storm's calls."""

    world: World
    servers: Servers
    talkers: Sequence[Talker]
    open_calls: Sequence[Talker]
    still: Stillness


@dataclass(frozen=True)
class Weather:
    """What happened: `deck` to single calls, `befell` to all of them, of all that `may_befall`."""

    deck: Deck
    befell: Counter[str]
    may_befall: Sequence[str]


@dataclass(frozen=True)
class Looks:
    """Kav's figures before a storm, the greatest in it, and after."""

    before: Figures
    most: Figures
    after: Figures


def tell(report: Report, seen: Seen, weather: Weather) -> None:
    """Print what happened, and hold the storm to having been one."""
    table, deck = Table(report, f"{len(seen.talkers)} calls"), weather.deck
    for name in weather.may_befall:
        table.row(trouble=name.ljust(42), took_hold=weather.befell[name], in_vain=0)
    for name in sorted(OF_A_CALL):
        table.row(trouble=name, took_hold=deck.took_hold[name], in_vain=deck.in_vain[name])
    reasons = Counter(str(kept.call.get("end_reason")) for kept in records.kept_by(seen.servers).values())
    ends = Table(report, "how they ended, by their records")
    for reason, count in sorted(reasons.items()):
        ends.row(reason=reason.ljust(24), calls=count)
    is_long = sum(deck.took_hold.values()) >= LONG * len(OF_A_CALL)
    kinds = len(OF_A_CALL) if is_long else round(MOST_KINDS * len(OF_A_CALL))
    report.promise("kinds of trouble that took hold", len(deck.took_hold), kinds, "kinds", at_least=True)
    least = min(weather.befell[name] for name in weather.may_befall)
    report.promise("times that each server and the process failed", least, 1, "times", at_least=True)


def judge(report: Report, seen: Seen, looks: Looks) -> None:
    """Hold Kav to its promises."""
    for talker in seen.open_calls[:3]:
        print(f"    not over: {talker.troubles}: {talker.call.story()}")
    report.promise("calls that are not over", len(seen.open_calls), 0, "calls")
    wrong = records.incomplete(seen.servers, seen.talkers, seen.still)
    records.show(seen.world, wrong)
    report.promise("calls whose record is not complete", len(wrong), 0, "calls")
    silent = [talker for talker in seen.talkers if talker.was_left_in_silence]
    for talker in silent[:3]:
        print(f"    heard nothing: {talker.troubles}: {talker.call.story()}")
    report.promise("callers whom Kav left without a word", len(silent), 0, "calls")
    report.promise("bytes heard of another call", sum(map(Talker.strange_bytes, seen.talkers)), 0, "bytes")
    foreign = {talker: frames for talker in seen.talkers if (frames := talker.foreign_frames())}
    for talker, frames in foreign.items():
        print(f"    {frames} frames that {talker.call.sid} never spoke; met {talker.troubles}")
    report.promise("frames that reached another call's model", sum(foreign.values()), 0, "frames")
    _judge_process(report, looks)
    _judge_ghosts(report, seen)
    _judge_rules(report, seen.world)


def _judge_process(report: Report, looks: Looks) -> None:
    table = Table(report, "the process")
    for name, most in looks.most.items():
        table.row(figure=name.ljust(20), before=looks.before[name], most=most, after=looks.after[name])
    for name, figure in looks.after.items():
        report.promise(f"{name} more than before", max(0, figure - looks.before[name]), GROWS.get(name, 0), "")


def _judge_ghosts(report: Report, seen: Seen) -> None:
    ghosts, still = Ghosts(), seen.still
    for talker in seen.talkers:
        for trigger in talker.triggers.values():
            ghosts.add(trigger, talker.deafness, talker.spent, still)
    streams = (row for kept in records.kept_by(seen.servers).values() for row in kept.streams)
    own = [float(row["socket_ghost_ms"]) for row in streams if row["socket_ghost_ms"] is not None]
    _tell_ghosts(report, seen, ghosts, own)
    report.promise("socket ghost by the peers' clocks, p99", percentile(ghosts.ms, 0.99), GHOST_MS)
    report.promise("socket ghost by Kav's own, p99", percentile(own, 0.99), GHOST_MS)
    report.promise("socket ghost by Kav's own, longest", max(own, default=0.0), 2 * GHOST_MS)
    report.promise("ends whose ghost could be measured", len(ghosts.ms), MEASURED, "ends", at_least=True)
    report.promise("ends without a close frame", len(ghosts.unframed), 0, "ends")
    peers = [stream.peer for talker in seen.talkers for stream in (*talker.call.streams, *talker.call.intruders)]
    models = [session.peer for session in seen.world.model.sessions]
    report.promise("sockets that the peers see open still", left_open([*peers, *models]), 0, "sockets")


def _tell_ghosts(report: Report, seen: Seen, ghosts: Ghosts, own: Sequence[float]) -> None:
    table, lags_ms = Table(report, "socket ghosts, ms"), [lag_s * 1000 for lag_s in seen.still.lags_s]
    for by, ms in (("the peers' clocks", ghosts.ms), ("Kav's own", own), ("the peers' own lag", lags_ms)):
        table.row(by=by, ends=len(ms), p50=percentile(ms, 0.5), p99=percentile(ms, 0.99), longest=max(ms, default=0.0))
    print(
        f"    {ghosts.excused} ends are not among them: the process was stopped, had no time, or the peer did not read"
    )
    by_length = sorted(zip(ghosts.ms, ghosts.whose, strict=True), key=lambda ghost: -ghost[0])
    for ghost_ms, trigger in by_length[:3]:
        if ghost_ms > GHOST_MS:
            print(f"    {ghost_ms:.0f} ms: {trigger.call_sid}, {trigger.what}")
            print(*(f"      {line}" for line in seen.world.kav.log_of(trigger.call_sid)[-6:]), sep="\n")
    for what, times in Counter(ghosts.unframed).items():
        print(f"    without a close frame, {times} times: {what}")


def _judge_rules(report: Report, world: World) -> None:
    violations = [violation for violation in world.model.violations if violation.rule not in CROSSED]
    report.promise("rules of the model's that were broken", len(violations), 0, "")
    broken = [notice for call in world.twilio.calls for notice in call.violations]
    report.promise("rules of Twilio's that were broken", len(broken), 0, "")
    for notice in (*broken[:3], *violations[:3]):
        print(f"    {notice}")
