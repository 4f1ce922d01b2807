"""What must be true of a call that was played: one verdict for each promise. Pure."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

from rehearsal.expectation import Expect, Heard, matches
from rehearsal.hearing import Sound
from rehearsal.player import Performance, other_party
from rehearsal.record import Record, compare
from rehearsal.scenario import Scenario, Service
from rehearsal.witness import Fin, bot_line

MEMORY_MS = 200.0
"""How much less than what was heard the model may remember, besides the network's round trip.

Half a word, on a machine that is busy with something else; the bench tells the true figure, a tenth of it.
"""
INSTANT_MS = 20.0
"""A line of which no more was heard than this may be forgotten altogether."""


@dataclass(frozen=True)
class Verdict:
    """Whether something is as it must be, None where nobody could look.

    `seen` is what was there instead; `figure` what was measured, and worth knowing also when all is well.
    """

    expected: str
    ok: bool | None
    seen: str = ""
    figure: str = ""


def judge(scenario: Scenario, performance: Performance) -> list[Verdict]:
    """Every verdict on a performance, the scenario's own first."""
    return [*_of_scenario(scenario.expect, performance), *_of_every_call(scenario, performance)]


def _of_scenario(expect: Expect, seen: Performance) -> Iterator[Verdict]:
    if expect.heard is not None:
        yield from _heard(expect.heard, seen)
    if expect.closed_within_s is not None:
        yield _closed(expect.closed_within_s, seen.fins)
    if expect.announced is not None:
        yield _same("Twilio says", expect.announced, tuple(seen.call.said), matches)
    if expect.dialled is not None:
        yield _same("Twilio dials", expect.dialled, tuple(seen.call.dialled))
    yield from _on_record(expect, seen)
    if expect.statuses is not None:
        told = tuple(asked.form["CallStatus"] for asked in sorted(seen.call.statuses, key=lambda asked: asked.at))
        yield _same("Twilio reports", expect.statuses, told)
    if expect.streams is not None:
        yield _count("media stream", expect.streams, len(seen.call.streams))
    if expect.model_sessions is not None:
        yield _count("model session", expect.model_sessions, seen.model_sessions)


def _on_record(expect: Expect, seen: Performance) -> Iterator[Verdict]:
    for finding in compare(expect, seen.record or Record(), other_party(seen.call)):
        if seen.record is None:
            where = "only the records of a Kav that the rehearsal starts can be read"
            yield Verdict(finding.expected, None, where)
        else:
            yield Verdict(finding.expected, finding.ok, finding.seen)


def _heard(expected: tuple[Heard, ...], seen: Performance) -> Iterator[Verdict]:
    """All of it, in order, and nothing besides."""
    for heard, sound in zip_longest(expected, seen.sounds):
        if heard is None:
            yield Verdict("nothing more is heard", ok=False, seen=_as_told(sound))
            continue
        right = sound is not None and matches(bot_line(sound).text, heard.text) and sound.complete == bool(heard.whole)
        told = _as_told(sound) if sound is not None else "nothing"
        yield Verdict(f"the caller hears {_quoted(heard.text)} {'whole' if heard.whole else 'cut off'}", right, told)
        if right and heard.silent_within_ms is not None:
            yield _silence(heard.silent_within_ms, sound, seen)


def _as_told(sound: Sound) -> str:
    return f"{_quoted(bot_line(sound).text)} {'whole' if sound.complete else 'cut off'}"


def _silence(within_ms: float, sound: Sound, seen: Performance) -> Verdict:
    begun = [line.began_at for line in seen.lines if line.began_at <= sound.ends_at]
    expected = f"silence within {within_ms:.0f} ms of the caller's first sound"
    if not begun:
        return Verdict(expected, ok=False, seen="the caller had said nothing")
    after_ms = (sound.ends_at - begun[-1]) * 1000
    return Verdict(expected, after_ms <= within_ms, f"{after_ms:.0f} ms", figure=f"{after_ms:.0f} ms")


def _closed(within_s: float, fins: tuple[Fin, ...]) -> Verdict:
    expected = f"every socket is closed within {within_s:g} s"
    late = [why for fin in fins if (why := _lateness(within_s, fin))]
    took = [fin.took_ms for fin in fins if fin.took_ms is not None]
    if late or not fins:
        return Verdict(expected, ok=False, seen="; ".join(late) or "there was no socket at all")
    return Verdict(expected, ok=True, figure=f"{max(took):.0f} ms")


def _lateness(within_s: float, fin: Fin) -> str:
    if fin.fin_at is None:
        return f"{fin.socket} was left open"
    if fin.took_ms is None:
        return f"{fin.socket} was closed before anybody had ended anything"
    return f"{fin.socket} after {fin.took_ms:.0f} ms" if fin.took_ms > within_s * 1000 else ""


def _served(service: Service, seen: Performance) -> Iterator[Verdict]:
    """A service is asked, and what it answers reaches the model."""
    asked, learnt = f"the tool asks {service.asked}", "the model learns what it answers"
    if seen.record is None:
        where = "only a Kav that the rehearsal starts asks the services here"
        yield from (Verdict(asked, None, where), Verdict(learnt, None, where))
        return
    yield Verdict(asked, bool(seen.asked.get(service.asked)), f"{seen.asked.get(service.asked, 0)} times")
    if service.status < 300:
        yield Verdict(learnt, any(_means(text, service.answers) for text in seen.tool_outputs), _all(seen.tool_outputs))


def _means(output: str, answers: object) -> bool:
    try:
        return output == answers or json.loads(output) == answers
    except ValueError:
        return False


def _of_every_call(scenario: Scenario, seen: Performance) -> Iterator[Verdict]:
    """What holds for each call, whatever the scenario says."""
    for service in scenario.services:
        yield from _served(service, seen)
    for sound in seen.sounds:
        if sound.cut == "cleared" or (not sound.cut and bot_line(sound).is_shortened):
            yield _memory(sound, MEMORY_MS + 2 * scenario.network_delay_ms)
    if seen.call.clears:
        expected = "after `clear`, not a byte of what it cleared"
        yield Verdict(expected, not seen.late_bytes, f"{seen.late_bytes} bytes")
    if seen.strange_bytes:
        yield Verdict("all audio is the model's", ok=False, seen=f"{seen.strange_bytes} bytes are not")
    if seen.unwritten:
        yield Verdict("the scenario has every reply", ok=False, seen=f"{seen.unwritten} more were asked for")
    if seen.missed:
        yield Verdict("the scenario is played to its end", ok=False, seen=seen.missed)
    open_sockets = sum(fin.fin_at is None for fin in seen.fins)
    if open_sockets:
        yield Verdict("no socket is left open", ok=False, seen=f"{open_sockets} of {len(seen.fins)}")
    broken = seen.rules_broken
    yield Verdict("no rule of Twilio's or of the model's is broken", not broken, "; ".join(broken))


def _memory(sound: Sound, tolerance_ms: float) -> Verdict:
    heard_ms, remembered_ms = sound.heard_ms(float("inf")), bot_line(sound).remembered_ms
    lowest = 0.0 if heard_ms <= INSTANT_MS else heard_ms - tolerance_ms
    figures = f"{remembered_ms / 1000:.2f} of {heard_ms / 1000:.2f} s"
    right = lowest <= remembered_ms <= heard_ms
    return Verdict("the model remembers what was heard, no more", right, figures, figure=figures)


def _same(
    who: str, expected: tuple[str, ...], seen: tuple[str, ...], same: Callable[[str, str], bool] = str.__eq__
) -> Verdict:
    right = len(expected) == len(seen) and all(map(same, seen, expected))
    return Verdict(f"{who} {_all(expected)}", right, _all(seen))


def _count(what: str, expected: int, seen: int) -> Verdict:
    return Verdict(f"{expected} {what}{'' if expected == 1 else 's'}", seen == expected, str(seen))


def _all(texts: tuple[str, ...]) -> str:
    return ", ".join(map(_quoted, texts)) or "nothing"


def _quoted(text: str) -> str:
    return f"«{text}»"
