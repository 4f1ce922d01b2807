"""Whether the records tell what really happened, which the stand-ins know: nothing is missing, nothing invented."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.caller import Talker
from chaos.ghosts import Stillness, gone
from chaos.servers import Servers
from kav.cost import UNREPORTED
from rehearsal.model import ModelSession
from rehearsal.twilio.leg import TERMINAL
from rehearsal.twilio.stream import MediaStream
from rehearsal.world import World

Row = Mapping[str, Any]

UNDER_WAY_S = 1.5
"""What was sent so shortly before an end may not have been read any more, on a machine that is busy."""

TAKEN_WITHIN_S = 2.5
"""From `start` to a stream that is on record, while Redis is stalled and asked twice."""

ENDED, REFUSED = (1000, 1001), 1008
"""Close codes: of a stream that Kav had taken and ends, and of one that it does not take."""

HEARD_MS = 100
"""What sounded for less may have been cut off before Kav could know that it did."""


@dataclass(frozen=True)
class Seen:
    """One call as both stand-ins saw it. `told`: the terminal statuses that Kav has taken, each with its seconds."""

    call_sid: str
    told: Sequence[tuple[str, int | None]] = ()
    answered: bool = False
    served: frozenset[str] = frozenset()
    """Streams that Kav has taken: they must be on record."""
    opened: frozenset[str] = frozenset()
    """All streams of Twilio's own."""
    heard_ms: float = 0.0
    done: tuple[int, int] = (0, 0)
    """Responses that the model has ended: those that Kav must have seen, and all of them."""


@dataclass
class Kept:
    """What is on record of one call."""

    call: Row = field(default_factory=dict)
    streams: list[Row] = field(default_factory=list)
    turns: list[Row] = field(default_factory=list)
    usage: list[Row] = field(default_factory=list)


def faults(seen: Seen, kept: Kept) -> list[str]:
    """Say what of a call's record is missing or wrong."""
    if not kept.call:
        return ["no record at all"]
    found = [f"no {name}" for name in ("end_reason", "ended_at", "terminal_status") if not kept.call.get(name)]
    return [*found, *_status(seen, kept.call), *_streams(seen, kept), *_words(seen, kept), *_usage(seen, kept)]


def _status(seen: Seen, call: Row) -> list[str]:
    statuses = {status for status, _ in seen.told}
    seconds = [duration for _, duration in seen.told if duration is not None]
    found = []
    if statuses and call["terminal_status"] not in statuses:
        found.append(f"terminal_status is {call['terminal_status']}, Twilio said {sorted(statuses)}")
    if seconds and call["duration_s"] != max(seconds):
        found.append(f"duration_s is {call['duration_s']}, Twilio said {max(seconds)}")
    if seen.answered and call["duration_s"] is None:
        found.append("no duration_s of a call that was answered")
    if call["started_at"] and call["ended_at"] and call["ended_at"] < call["started_at"]:
        found.append("it ended before it began")
    return found


def _streams(seen: Seen, kept: Kept) -> list[str]:
    rows = {row["stream_sid"]: row for row in kept.streams}
    wanted = ("opened_at", "ended_at", "end_reason", "socket_ghost_ms", "frames_in", "frames_out")
    found = [f"no {name} of a stream" for row in rows.values() for name in wanted if row[name] is None]
    found += [f"a stream is missing: {sid}" for sid in seen.served - rows.keys()]
    found += [f"a stream that is nobody's: {sid}" for sid in rows.keys() - seen.opened]
    return found if kept.call["started_at"] or not rows else [*found, "no started_at, and streams"]


def _words(seen: Seen, kept: Kept) -> list[str]:
    said = any(row["who"] == "bot" and row["text"] for row in kept.turns)
    return ["no turn of the bot's, and the caller heard it"] if seen.heard_ms > HEARD_MS and not said else []


def _usage(seen: Seen, kept: Kept) -> list[str]:
    least, most = seen.done
    known = [row for row in kept.usage if row["model"] != UNREPORTED]
    responses = sum(row["responses"] or 0 for row in known)
    found = [] if least <= responses <= most else [f"{responses} responses, the model ended {least} to {most}"]
    costs = kept.call["cost_micro_usd"] is not None and all(row["cost_micro_usd"] is not None for row in known)
    return found if costs or not responses else [*found, "no cost"]


def seen_of(talker: Talker, still: Stillness) -> Seen:
    """Return what the stand-ins know of a call."""
    call = talker.call
    told = [asked for asked in call.statuses if asked.form["CallStatus"] in TERMINAL and 200 <= asked.status < 300]
    surely = sum(_read_for_sure(session, still) for session in talker.sessions)
    return Seen(
        call.sid,
        told=[(asked.form["CallStatus"], _seconds(asked.form)) for asked in told],
        answered=call.answered_at is not None,
        served=frozenset(stream.sid for stream in call.streams if _was_taken(stream, talker, still)),
        opened=frozenset(stream.sid for stream in call.streams),
        heard_ms=call.heard_ms,
        done=(surely, sum(session.journal.counts["response.done"] for session in talker.sessions)),
    )


def _seconds(form: Mapping[str, str]) -> int | None:
    return int(form["CallDuration"]) if "CallDuration" in form else None


def _was_taken(stream: MediaStream, talker: Talker, still: Stillness) -> bool:
    """Whether Kav must have taken a stream: it spoke, it ended the stream itself, or it had time enough for that."""
    peer, started_at, end = stream.peer, stream.started_at, gone(stream.peer)
    if stream.received or started_at is None or end is None:
        return bool(stream.received)
    if peer.close_code in ENDED and stream not in talker.triggers:
        return True
    return peer.close_code != REFUSED and end - started_at - still.lost_s(started_at, end) > TAKEN_WITHIN_S


def _read_for_sure(session: ModelSession, still: Stillness) -> int:
    """Return how many responses were done long enough before the session's end for Kav to have read that."""
    peer = session.peer
    ends = [at for at in (peer.close_frame_at, gone(peer)) if at is not None]
    end = min(ends, default=0.0)
    done = (at for at, event in session.sent if event["type"] == "response.done")
    return sum(end - at - still.lost_s(at, end) > UNDER_WAY_S for at in done)


def kept_by(servers: Servers) -> dict[str, Kept]:
    """Return what is on record of every call."""
    kept = defaultdict[str, Kept](Kept)
    for row in servers.rows("calls"):
        kept[row["call_sid"]].call = row
    for table in ("streams", "turns", "usage"):
        for row in servers.rows(table):
            getattr(kept[row["call_sid"]], table).append(row)
    return dict(kept)


def incomplete(servers: Servers, talkers: Iterable[Talker], still: Stillness) -> dict[Talker, list[str]]:
    """Return the calls whose record is not what it must be, and what is wrong with it."""
    kept = kept_by(servers)
    found = ((talker, faults(seen_of(talker, still), kept.get(talker.call.sid, Kept()))) for talker in talkers)
    return {talker: wrong for talker, wrong in found if wrong}


def show(world: World, wrong: Mapping[Talker, Sequence[str]]) -> None:
    """Print the first of them, each with what was done to it and its last words in Kav's log."""
    for talker, why in list(wrong.items())[:3]:
        print(f"    {talker.call.sid}: {'; '.join(why)}; met {talker.troubles}")
        print(*(f"      {line}" for line in world.kav.log_of(talker.call.sid)[-12:]), sep="\n")
