"""Which scenarios a real model can be held to, and what playing them will cost. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from rehearsal.scenario import Scenario, Step

USD_A_MINUTE = 0.20
"""Of a call with gpt-realtime-2.1, by list price of 2026-11-22: caller's audio 0.02, the bot's own 0.08; the rest is
the conversation that every response reads again, two of them a turn, mostly cached, and half a cent of transcript."""

CHARACTERS_A_SECOND = 12
"""Of speech on the telephone."""
REPLY_S = 7.0
"""What the bot's answer takes, with the wait before it."""
FRAME_S = 20.0
"""Greeting and end of a call."""


@dataclass(frozen=True)
class Estimate:
    """What so many calls will take."""

    calls: int
    minutes: float

    @property
    def usd(self) -> float:
        """By list price."""
        return self.minutes * USD_A_MINUTE

    def __str__(self) -> str:
        calls = "1 call" if self.calls == 1 else f"{self.calls} calls"
        return f"{calls}, about {self.minutes:.0f} min on the line, about ${self.usd:.2f} by list price"


def estimate(scenarios: list[Scenario]) -> Estimate:
    """Guess minutes and dollars; text-to-speech comes to cents and is not counted."""
    return Estimate(len(scenarios), sum(map(_seconds, scenarios)) / 60)


def _seconds(scenario: Scenario) -> float:
    return FRAME_S + sum(map(_step_s, scenario.steps))


def _step_s(step: Step) -> float:
    spoken = REPLY_S + len(step.says) / CHARACTERS_A_SECOND if step.says is not None else 0.0
    return spoken + (step.stays_silent_s or 0.0) + (step.after_s or 0.0)


def why_not(scenario: Scenario) -> str:
    """Why a real model cannot be asked to play this, or ""."""
    return next(_reasons(scenario), "")


def _reasons(scenario: Scenario) -> Iterator[str]:
    if scenario.scripted_only:
        yield scenario.scripted_only
    if scenario.rewords:
        yield "the model is to say something else than it was given, and a real one cannot be told to"
    order = scenario.outbound
    if order is not None and (order.outcome != "answered" or order.answered_by not in ("human", "unknown")):
        yield "nobody answers who would talk with a model"
    if scenario.services:
        yield "its business's service knows one answer to one question, and a real model may ask it another"
    for step in scenario.steps:
        yield from _reasons_of(step)


def _reasons_of(step: Step) -> Iterator[str]:
    if step.model is not None:
        yield f"the model's connection is to fail ({step.model}), and a real one cannot be told to"
    if step.judge == ():
        yield "the model is not to judge a turn, and a real one cannot be told to"
    for judgement in step.judge or ():
        if judgement.arguments is not None or judgement.call_id is not None or judgement.also is not None:
            yield "the model is to break the rules of its tools, and a real one cannot be told to"
        if judgement.tool == "current_time":
            yield "the model is to call the wrong tool, and a real one cannot be told to"
    if any(isinstance(reply.arguments, str) for reply in step.replies):
        yield "the model is to send broken arguments, and a real one cannot be told to"
