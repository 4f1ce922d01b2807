"""`python -m rehearsal --live`: the scenarios against the real model, and how far it and Kav kept their promises.

Everything but the model and the caller's voice is as in any rehearsal: Twilio's stand-in, a real Kav of its own. Calls
cost money, so nothing begins before somebody has agreed to what is about to be played.
"""

import asyncio
import json
import os
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from rehearsal.live.adherence import adherence, in_percent, share
from rehearsal.live.choice import Estimate, estimate, why_not
from rehearsal.live.player import LivePerformance, play
from rehearsal.live.texts import texts_for
from rehearsal.live.voice import Voice, VoiceError
from rehearsal.printer import Printer, to_terminal
from rehearsal.scenario import Scenario
from rehearsal.speech import cache_folder
from rehearsal.verdict import Verdict
from rehearsal.witness import Happening
from rehearsal.world import World

API_URL = "https://api.openai.com/v1"
REALTIME_URL = "wss://api.openai.com/v1/realtime"
KAV_SETTINGS = {"DRAIN_SECONDS": "0", "LOG_LEVEL": "INFO"}
_PASSED_ON = ("OPENAI_REALTIME_MODEL", "OPENAI_VOICE", "OPENAI_TRANSCRIBE_MODEL", "MODEL_CONNECT_TIMEOUT_S")
_MISSING = (
    "OPENAI_API_KEY is not set: a live rehearsal talks to the real model; put a key into the environment or into .env, "
    "or leave --live out to rehearse without any account."
)

TOO_MANY = "more calls than --at-most says"

Scenarios = Sequence[tuple[Path, Scenario]]


class CannotPlay(Exception):
    """Nothing can be played; the message says why, and what to do."""


@dataclass(frozen=True)
class Account:
    """Whose key, and where the services are."""

    api_key: str = field(repr=False)
    api_url: str = API_URL
    realtime_url: str = REALTIME_URL
    settings: Mapping[str, str] = field(default_factory=dict)
    """What else of the environment is Kav's to know."""

    @property
    def model(self) -> str:
        """The model's name, for the report; "" for Kav's own default."""
        return self.settings.get("OPENAI_REALTIME_MODEL", "")


@dataclass(frozen=True)
class Played:
    """One scenario: its promises and what was said, or why it was left out."""

    path: Path
    scenario: Scenario
    left_out: str = ""
    verdicts: tuple[Verdict, ...] = ()
    performance: LivePerformance | None = None


def run(asked: Namespace, scenarios: Scenarios) -> int:
    """Play; returns the exit status: 0 when every promise was kept, 1 when one was not, 2 when nothing was played."""
    try:
        account = find_account({**_env_file(), **os.environ})
        chosen, left_out = choose(scenarios, asked.at_most)
        _announce(left_out, estimate([scenario for _path, scenario in chosen]))
        _agree(asked.yes)
        return asyncio.run(_rehearse(asked, account, chosen, left_out))
    except (CannotPlay, VoiceError) as error:
        print(f"No live rehearsal: {error}", file=sys.stderr)
        return 2


def _env_file() -> dict[str, str]:
    return {name: value for name, value in dotenv_values(".env").items() if value is not None}


def find_account(environment: Mapping[str, str]) -> Account:
    """Read what is needed from the environment. Raises CannotPlay."""
    key = environment.get("OPENAI_API_KEY", "").strip()
    if not key:
        raise CannotPlay(_MISSING)
    return Account(
        key,
        environment.get("OPENAI_BASE_URL") or API_URL,
        environment.get("OPENAI_REALTIME_URL") or REALTIME_URL,
        {name: environment[name] for name in _PASSED_ON if environment.get(name)},
    )


def choose(scenarios: Scenarios, at_most: int) -> tuple[Scenarios, list[Played]]:
    """Split them into those that are played and those that are not, each with its reason. Raises CannotPlay."""
    chosen: list[tuple[Path, Scenario]] = []
    left_out: list[Played] = []
    for path, scenario in scenarios:
        reason = why_not(scenario) or ("" if len(chosen) < at_most else TOO_MANY)
        if reason:
            left_out.append(Played(path, scenario, left_out=reason))
        else:
            chosen.append((path, scenario))
    if not chosen:
        raise CannotPlay("; ".join(f"{one.path.name}: {one.left_out}" for one in left_out))
    return chosen, left_out


def _announce(left_out: Sequence[Played], price: Estimate) -> None:
    for one in left_out:
        if one.left_out != TOO_MANY:
            print(f"left out  {one.path.name}: {one.left_out}")
    too_many = sum(one.left_out == TOO_MANY for one in left_out)
    if too_many:
        print(f"left out  {too_many} more, because of --at-most")
    print(f"\nThis is billed to your OpenAI account: {price}.", flush=True)


def _agree(already: bool) -> None:
    """Raises CannotPlay when nobody agrees."""
    if already:
        return
    if not sys.stdin.isatty():
        raise CannotPlay("calls cost money: say --yes to agree to that")
    if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CannotPlay("nobody agreed to the cost")


async def _rehearse(asked: Namespace, account: Account, chosen: Scenarios, left_out: Sequence[Played]) -> int:
    voice = Voice(account.api_key, account.api_url, cache_folder() / "live", model=asked.speech_model)
    await asyncio.to_thread(_warm_up, voice, chosen)
    settings = {
        **KAV_SETTINGS,
        **account.settings,
        "OPENAI_API_KEY": account.api_key,
        "OPENAI_REALTIME_URL": account.realtime_url,
    }
    places = asyncio.Semaphore(asked.parallel)

    async def one(path: Path, scenario: Scenario) -> Played:
        async with places:
            printer = to_terminal(dict(os.environ), at_once=asked.parallel == 1)
            return await rehearse(world, path, scenario, voice, printer, asked.wav / f"live_{path.stem}.wav")

    async with World(settings) as world:
        played = await asyncio.gather(*(one(path, scenario) for path, scenario in chosen))
    return _conclude([*played, *left_out], account.model, asked.json)


def _warm_up(voice: Voice, scenarios: Scenarios) -> None:
    """Speak every line of the callers' before the first call begins. Raises VoiceError."""
    for _path, scenario in scenarios:
        for step in scenario.steps:
            if step.says is not None:
                voice.speak(step.says, step.language or scenario.language)


async def rehearse(
    world: World, path: Path, scenario: Scenario, voice: Voice, printer: Printer, recording: Path
) -> Played:
    """Play one scenario, print it, keep its recording."""
    printer.begin(scenario)
    call, seen = await play(world, scenario, printer.tell, voice.speak)
    verdicts = adherence(scenario, texts_for(scenario), seen)
    recording.parent.mkdir(parents=True, exist_ok=True)
    call.write_wav(recording)
    for turn in seen.record.turns or ():
        printer.tell(_happening(turn))
    broken = any(verdict.ok is False for verdict in verdicts)
    printer.end(verdicts, recording, world.kav.log_of(call.sid) if broken else [])
    printer.flush()
    print(f"  {in_percent(*share(verdicts))}\n", flush=True)
    return Played(path, scenario, verdicts=tuple(verdicts), performance=seen)


def _happening(turn: Mapping[str, Any]) -> Happening:
    """A turn as Kav has it on record; its seconds count from the stream's start."""
    words = turn["text"] if turn["who"] == "caller" else turn["heard"] or turn["text"]
    return Happening(
        (turn["at_ms"] or 0) / 1000, "caller" if turn["who"] == "caller" else "kav", words or "…", spoken=True
    )


def _conclude(all_played: Sequence[Played], model: str, file: Path | None) -> int:
    verdicts = [verdict for one in all_played for verdict in one.verdicts]
    kept, checks = share(verdicts)
    calls = [one for one in all_played if not one.left_out]
    cost = _cost(calls)
    print(f"{in_percent(kept, checks)} in {len(calls)} calls" + (f"; ${cost:.2f} by Kav's record" if cost else ""))
    if file is not None:
        file.write_text(json.dumps(as_json(all_played, model), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if kept == checks and checks else 1


def _cost(calls: Sequence[Played]) -> float:
    """What the calls cost by Kav's own record, as far as it tells, in USD."""
    costs = [one.performance.record.of_call("cost_micro_usd") for one in calls if one.performance is not None]
    return float(sum(cost for cost in costs if cost)) / 1e6


def as_json(all_played: Sequence[Played], model: str) -> dict[str, Any]:
    """The whole report, for a machine."""
    kept, checks = share([verdict for one in all_played for verdict in one.verdicts])
    return {
        "model": model or "Kav's default",
        "kept": kept,
        "checks": checks,
        "adherence": round(kept / checks, 4) if checks else None,
        "scenarios": [_as_json(one) for one in all_played],
    }


def _as_json(one: Played) -> dict[str, Any]:
    named = {"file": one.path.name, "title": one.scenario.title}
    if one.left_out:
        return {**named, "left_out": one.left_out}
    results = {True: "kept", False: "broken", None: "not known"}
    promises = [
        {"promise": verdict.expected, "result": results[verdict.ok], "seen": verdict.seen} for verdict in one.verdicts
    ]
    turns = one.performance.record.turns if one.performance is not None else None
    said = [{name: turn[name] for name in ("at_ms", "who", "text", "heard", "language")} for turn in turns or ()]
    return {**named, "promises": promises, "turns": said}
