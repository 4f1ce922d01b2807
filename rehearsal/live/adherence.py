"""Whether Kav and a real model kept their promises in one call: judged from outside, whatever words were chosen. Pure.

What was heard tells when the bot spoke and fell silent; Kav's record tells the words. Where a record has none, what
depends on them is not known, and counts neither way.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf
from typing import Any

from rehearsal.expectation import Answer
from rehearsal.live.player import LivePerformance, Spoken
from rehearsal.live.record import Row
from rehearsal.live.texts import Texts, contains, plain
from rehearsal.scenario import Scenario
from rehearsal.verdict import Verdict

GREETED_WITHIN_S = 5.0
"""From the stream's start to the bot's first sound, over the Internet."""
NETWORK_MS = 500.0
"""What a model far away, and its ears, may take longer than the stand-in to notice that the caller speaks."""
SILENT_WITHIN_MS = 500.0
"""Where the scenario does not say."""
OWN_SCRIPT_SHARE = 0.6
"""The part of a turn's letters that must belong to the caller's language: names and brands keep their own."""
UNTOLD = "Kav's record does not tell"

_SCRIPTS = {"he": ("\u0590", "\u05ff"), "ar": ("\u0600", "\u06ff"), "ru": ("\u0400", "\u04ff")}
_LATIN = ("A", "\u024f")
_BARE = ("yes", "no", "כן", "לא", "да", "нет", "نعم", "لا", "right")
_EXACT_KINDS = ("choice", "yes_no")
"""Whose answers have one form only; a name or an address is written in more than one way."""


def adherence(scenario: Scenario, texts: Texts, seen: LivePerformance) -> list[Verdict]:
    """Every promise: kept, broken, or (ok None) not known or not applicable."""
    return [
        *_greeted(seen),
        *(verdict for place in range(len(seen.lines)) for verdict in _of_line(scenario, texts, seen, place)),
        *_questions(scenario, texts, seen),
        *_answers(scenario, texts, seen),
        *_of_the_call(scenario, seen),
        *_ends(scenario, seen),
    ]


def share(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    """How many promises were kept, of how many that could be looked at."""
    known = [verdict for verdict in verdicts if verdict.ok is not None]
    return sum(verdict.ok is True for verdict in known), len(known)


def in_percent(kept: int, checks: int) -> str:
    """`adherence: 97 % of 64 checks`; whole only where it is whole."""
    if not checks:
        return "adherence: nothing could be looked at"
    percent = int(100 * kept / checks)
    return f"adherence: {percent} % of {checks} checks"


# What was heard


def _greeted(seen: LivePerformance) -> Iterator[Verdict]:
    expected = f"the bot speaks within {GREETED_WITHIN_S:g} s of the stream's start"
    if not seen.sounds:
        yield Verdict(expected, ok=False, seen="it never spoke")
        return
    took_s = seen.sounds[0].began_at - seen.began_at
    yield Verdict(expected, took_s <= GREETED_WITHIN_S, f"{took_s:.2f} s", figure=f"{took_s:.2f} s")


def _of_line(scenario: Scenario, texts: Texts, seen: LivePerformance, place: int) -> Iterator[Verdict]:
    """One line of the caller's: silence at once, an answer in their language, and the way back to the script."""
    line, until = seen.lines[place], _until(seen, place)
    said = f"«{line.step.says}»"
    if line.step.while_bot_says is not None:
        yield _silence(scenario, seen, line)
    if _is_waited_for(scenario, line):
        answered = any(line.began_at < sound.began_at < until for sound in seen.sounds)
        yield Verdict(f"{said} is answered", answered, "nothing was heard")
    turns = _bot_turns(seen, line.began_at, until)
    language = f"what follows {said} is in the caller's language ({line.language})"
    yield _if_told(language, turns, lambda: _not_in(turns or [], line.language))
    if any(judgement.tool == "side_question" for judgement in line.step.judge or ()):
        yield _resumes(texts, line, turns)


def _until(seen: LivePerformance, place: int) -> float:
    return seen.lines[place + 1].began_at if place + 1 < len(seen.lines) else inf


def _is_waited_for(scenario: Scenario, line: Spoken) -> bool:
    """Whether the scenario's caller lets the bot answer before they do the next thing."""
    following = scenario.steps[scenario.steps.index(line.step) + 1 :][:1]
    if any(judgement.tool in ("end_call", "transfer_to_human") for judgement in line.step.judge or ()):
        return False
    return bool(following) and following[0].after_s is None and following[0].into_own_words_ms is None


def _silence(scenario: Scenario, seen: LivePerformance, line: Spoken) -> Verdict:
    limits = [heard.silent_within_ms for heard in scenario.expect.heard or () if heard.silent_within_ms is not None]
    within_ms = max(limits, default=SILENT_WITHIN_MS) + NETWORK_MS
    expected = f"silence within {within_ms:.0f} ms of «{line.step.says}»"
    spoken_over = [sound for sound in seen.sounds if sound.began_at <= line.began_at < sound.ended_at]
    if not spoken_over:
        return Verdict(expected, None, "the bot had finished before the caller spoke")
    after_ms = (spoken_over[0].ended_at - line.began_at) * 1000
    return Verdict(expected, after_ms <= within_ms, f"{after_ms:.0f} ms", figure=f"{after_ms:.0f} ms")


# What was said, by Kav's record


def _bot_turns(seen: LivePerformance, since: float, until: float) -> list[Row] | None:
    """What the bot said in that time, as far as the caller heard it; None if the record does not tell."""
    if seen.record.turns is None:
        return None
    bots = [turn for turn in seen.record.turns if turn["who"] == "bot" and turn["at_ms"] is not None]
    return [turn for turn in bots if since <= seen.began_at + turn["at_ms"] / 1000 < until]


def _words(turn: Row) -> str:
    return str((turn["text"] if turn["heard"] is None else turn["heard"]) or "")


def _if_told(expected: str, told: object, wrong: Callable[[], str]) -> Verdict:
    if told is None:
        return Verdict(expected, None, UNTOLD)
    found = wrong()
    return Verdict(expected, not found, found)


def _not_in(turns: Sequence[Row], language: str) -> str:
    foreign = [_words(turn) for turn in turns if not is_in(_words(turn), language)]
    return "; ".join(f"«{words}»" for words in foreign)


def is_in(text: str, language: str) -> bool:
    """Whether a text is written in the language's letters; a text without letters is in every language."""
    first, last = _SCRIPTS.get(language, _LATIN)
    letters = [letter for letter in text if letter.isalpha()]
    return sum(first <= letter <= last for letter in letters) >= OWN_SCRIPT_SHARE * len(letters)


def _resumes(texts: Texts, line: Spoken, turns: list[Row] | None) -> Verdict:
    phrase = texts.resume.get(line.language)
    expected = f"after «{line.step.says}» Kav asks to resume"
    if phrase is None:
        return Verdict(expected, None, f"Kav has no phrase of its own in {line.language!r}")
    said = [_words(turn) for turn in turns or ()]
    asked = any(plain(phrase) in plain(words) for words in said)
    if not asked and turns and any(_words(turn) != turn["text"] for turn in turns):
        return Verdict(expected, None, "the caller did not let it be said")
    return _if_told(expected, turns, lambda: "" if asked else " / ".join(said) or "nothing was said")


def _questions(scenario: Scenario, texts: Texts, seen: LivePerformance) -> Iterator[Verdict]:
    """The script's own words, in the scenario's order."""
    wanted = [own for heard in scenario.expect.heard or () for own in texts.own(heard.whole or "")]
    said = [_words(turn) for turn in _bot_turns(seen, -inf, inf) or ()]
    place = 0
    for text in wanted:
        expected = f"the bot says «{text}» in its place"
        if seen.record.turns is None or seen.began_at != seen.began_at:
            yield Verdict(expected, None, UNTOLD)
            continue
        found = next((at for at in range(place, len(said)) if contains(said[at], text)), None)
        place = place if found is None else found
        yield Verdict(expected, found is not None, "it did not")


# What came of it


def _answers(scenario: Scenario, texts: Texts, seen: LivePerformance) -> Iterator[Verdict]:
    answers = seen.record.answers
    by_step = {str(answer["step"]): answer for answer in answers or ()}
    wanted = _wanted(scenario, texts)
    for step, values in wanted.items():
        stored = by_step.get(step)
        if not values:
            open_still = "" if _lacks(stored) else "there is one"
            yield _if_told(f"no answer to {step} is on record", answers, partial(str, open_still))
            continue
        yield _if_told(f"an answer to {step} is on record", answers, partial(_lacks, stored))
        value = _exact(texts, step, values, seen)
        if value and stored is not None and not _lacks(stored):
            right = plain(str(stored["value"])) == plain(value)
            yield Verdict(f"the answer to {step} is {value!r}", right, repr(stored["value"]))
    if wanted and texts.steps:
        came = [str(answer["step"]) for answer in answers or () if answer["step"] in texts.order]
        right = came == sorted(came, key=texts.order.index)
        expected = "the answers came in the script's order"
        yield _if_told(expected, answers, lambda: "" if right else ", ".join(came))


def _wanted(scenario: Scenario, texts: Texts) -> dict[str, list[Any]]:
    """What must be on record, by step: the values that are right, none for a step that stays without one.

    The scenario's own list, else what its caller says; a bare yes to something else is no answer to a question.
    """
    expected = scenario.expect.answers
    if expected is not None:
        return {step: [] if isinstance(value, Answer) else [value] for step, value in expected.items()}
    given: dict[str, list[Any]] = {}
    for judgement in (judgement for step in scenario.steps for judgement in step.judge or ()):
        kind = getattr(texts.step(judgement.step or ""), "answer", "")
        says_something = kind == "yes_no" or not _is_bare(judgement.value)
        if judgement.tool in ("answer_step", "correct_answer") and judgement.step is not None and says_something:
            given.setdefault(judgement.step, []).append(judgement.value)
    return given


def _is_bare(value: object) -> bool:
    return isinstance(value, bool) or plain(str(value)) in _BARE


def _lacks(answer: Row | None) -> str:
    if answer is None:
        return "there is none"
    return f"unanswered: {answer['unanswered']}" if answer["unanswered"] else ""


def _exact(texts: Texts, step_id: str, values: Sequence[Any], seen: LivePerformance) -> str:
    """The one right form of an answer, or "" where there is more than one."""
    step = texts.step(step_id)
    if step is not None and step.answer == "phone" and "caller_id" in values:
        return seen.person
    if step is None or step.answer not in _EXACT_KINDS:
        return ""
    if step.answer == "choice":
        return next((str(value) for value in reversed(values) if value in step.choices), "")
    return {True: "yes", False: "no"}.get(values[-1], str(values[-1]))


def _of_the_call(scenario: Scenario, seen: LivePerformance) -> Iterator[Verdict]:
    direction = seen.record.of_call("direction")
    wrong = "" if direction == seen.direction else str(direction)
    yield _if_told(f"the call is {seen.direction} to the end", direction, lambda: wrong)
    breaches = seen.record.breaches
    noted = ", ".join(f"{breach['what']} {breach['detail'] or ''}".strip() for breach in breaches or ())
    yield _if_told("Kav noted nothing that the model may not do", breaches, lambda: noted)
    expect = scenario.expect
    if expect.streams is not None:
        yield _same(f"media streams: {expect.streams}", str(expect.streams), str(seen.streams))
    if expect.statuses is not None:
        reported = tuple(sorted(seen.statuses))  # callbacks overtake one another
        yield _same("Twilio reports " + ", ".join(expect.statuses), tuple(sorted(expect.statuses)), reported)
    if expect.dialled is not None:
        yield _same("handed over to " + (", ".join(expect.dialled) or "nobody"), expect.dialled, seen.dialled)
    if expect.announced == ():
        yield _same("Twilio's voice is not needed", (), seen.announced)
    yield _same("no rule of Twilio's is broken", (), seen.violations)
    yield Verdict("the scenario is played to its end", not seen.missed, seen.missed)


def _same(expected: str, wanted: object, found: object) -> Verdict:
    return Verdict(expected, wanted == found, ", ".join(found) if isinstance(found, tuple) else str(found))


def _ends(scenario: Scenario, seen: LivePerformance) -> Iterator[Verdict]:
    expect, reason = scenario.expect, seen.record.of_call("end_reason")
    if expect.end_reason is not None:
        wrong = "" if reason == expect.end_reason else str(reason)
        yield _if_told(f"the record says why it ended: {expect.end_reason}", reason, lambda: wrong)
    if None in seen.fins or not seen.fins:
        yield Verdict("every media socket is closed", ok=False, seen="one was left open" if seen.fins else "none came")
        return
    within_s = expect.closed_within_s or 1.0
    took_ms = max(_closing_ms(seen, fin) for fin in seen.fins if fin is not None)
    figure = f"{took_ms:.0f} ms"
    yield Verdict(f"every media socket is closed within {within_s:g} s", took_ms <= within_s * 1000, figure, figure)
    ghosts = [row["socket_ghost_ms"] for row in seen.record.streams or () if row["socket_ghost_ms"] is not None]
    both = f"the model's socket too, by Kav's record, within {within_s:g} s"
    slow = [f"{ghost:.0f} ms" for ghost in ghosts if ghost > within_s * 1000]
    yield _if_told(both, ghosts or None, lambda: ", ".join(slow))


def _closing_ms(seen: LivePerformance, fin_at: float) -> float:
    """From what ended a stream to its FIN: the last act before it, else the bot's last word."""
    causes = [at for at in seen.ended_by if at <= fin_at]
    causes = causes or [sound.ended_at for sound in seen.sounds if sound.ended_at <= fin_at]
    return (fin_at - causes[-1]) * 1000 if causes else 0.0
