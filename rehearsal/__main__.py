"""Rehearse whole calls: real speech, a real Kav, no account anywhere. `python -m rehearsal --help` tells how."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from rehearsal.kav import KavDied
from rehearsal.player import play
from rehearsal.printer import Printer, to_terminal
from rehearsal.prompter import Voices
from rehearsal.scenario import FOLDER, Scenario, ScenarioError, load
from rehearsal.twilio import ACCOUNT_SID
from rehearsal.verdict import Verdict, judge
from rehearsal.world import Elsewhere, World

MODEL_PORT = 8090
"""Where the model stand-in is when a Kav that runs already must know it beforehand."""
PARALLEL = 12
"""Calls at the same time where all are played: two slow cores carry them, and nobody waits for half an hour."""
RECORDINGS = Path("recordings")
KAV_SETTINGS = {"DRAIN_SECONDS": "0", "LOG_LEVEL": "INFO"}
"""A rehearsal that is stopped does not wait for its calls."""
_EPILOG = """\
examples:
  python -m rehearsal                                  every scenario, many at the same time
  python -m rehearsal rehearsal/scenarios/hang_up.yaml one of them
  python -m rehearsal --hand-tests                     the four tests that a business makes by hand, to listen to
  python -m rehearsal --parallel 1                     one after another, printed as they go
  python -m rehearsal --kav http://127.0.0.1:8080      against a Kav that runs already, started with
                                                       OPENAI_REALTIME_URL={model_url}
  python -m rehearsal --live rehearsal/scenarios/side_question.yaml
                                                       against the real model: needs OPENAI_API_KEY, costs money

How to write a scenario: docs/rehearsal.md."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Play; returns the exit status: 0 when every verdict holds, 1 when one fails, 2 when nothing can be played."""
    asked = _parser().parse_args(arguments)
    try:
        scenarios = _chosen(asked)
    except ScenarioError as error:
        print(error, file=sys.stderr)
        return 2
    if asked.list:
        for path, scenario in scenarios:
            print(f"{path.name:<34} {scenario.title}")
        return 0
    if asked.kav is not None:
        scenarios = _without_outbound(scenarios)
    try:
        return _play_live(asked, scenarios) if asked.live else asyncio.run(_rehearse(asked, scenarios))
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    except (KavDied, OSError) as error:
        print(f"No rehearsal: {error}", file=sys.stderr)
        return 2


def _without_outbound(scenarios: Sequence[tuple[Path, Scenario]]) -> list[tuple[Path, Scenario]]:
    """Leave out what only a Kav that knows this Twilio can play: one that runs already asks its own for calls."""
    for path, scenario in scenarios:
        if scenario.outbound is not None:
            print(f"{path.name} is left out: only a Kav that the rehearsal starts can be asked to place calls.")
    return [(path, scenario) for path, scenario in scenarios if scenario.outbound is None]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal",
        description="Rehearse whole calls: real speech, a real Kav, no account anywhere.",
        epilog=_EPILOG.format(model_url=_model_url(MODEL_PORT)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help=f"scenarios; default: all in {FOLDER.name}/"
    )
    parser.add_argument("--kav", metavar="URL", help="play against the Kav that runs there, instead of starting one")
    parser.add_argument(
        "--model-port", type=int, default=MODEL_PORT, metavar="N", help="with --kav: the model stand-in's port"
    )
    parser.add_argument("--list", action="store_true", help="only say which scenarios there are")
    parser.add_argument(
        "--wav", type=Path, default=RECORDINGS, metavar="DIR", help=f"keep recordings there; default: {RECORDINGS}/"
    )
    parser.add_argument(
        "--parallel", type=_at_least_one, metavar="N", help=f"calls at the same time; default: {PARALLEL}, 1 if named"
    )
    parser.add_argument("--hand-tests", action="store_true", help="only the four tests that a business makes by hand")
    _add_live(parser)
    return parser


def _add_live(parser: argparse.ArgumentParser) -> None:
    live = parser.add_argument_group("against the real model, billed to your OpenAI account")
    live.add_argument(
        "--live", action="store_true", help="play to the real model, and say how far it keeps to the rules"
    )
    live.add_argument("--yes", action="store_true", help="agree to what that costs without being asked")
    live.add_argument("--at-most", type=_at_least_one, default=12, metavar="N", help="calls in all; default: 12")
    live.add_argument("--json", type=Path, metavar="FILE", help="write the whole report there")
    live.add_argument("--speech-model", default="gpt-4o-mini-tts", metavar="NAME", help="speaks the caller's lines")


def _play_live(asked: argparse.Namespace, scenarios: Sequence[tuple[Path, Scenario]]) -> int:
    """Raises OSError when that cannot go together with what else was asked for."""
    from rehearsal.live.command import run  # the openai package takes half a second to come

    if asked.kav is not None:
        raise OSError("--live starts a Kav of its own, which knows the key: leave --kav out")
    asked.parallel = asked.parallel or 1
    return run(asked, scenarios)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _chosen(asked: argparse.Namespace) -> list[tuple[Path, Scenario]]:
    """Raises ScenarioError."""
    files = list(dict.fromkeys(asked.files)) or sorted(FOLDER.glob("*.yaml"))
    scenarios = [(path, load(path)) for path in files]
    if not asked.hand_tests:
        return scenarios
    by_hand = [one for one in scenarios if one[1].hand_test]
    if not by_hand:
        raise ScenarioError("None of these is a hand test: name no file, or one with `hand_test:`")
    return sorted(by_hand, key=lambda one: one[1].hand_test or 0)


def _model_url(port: int) -> str:
    return f"ws://127.0.0.1:{port}/v1/realtime"


def _world(asked: argparse.Namespace, voices: Voices) -> World:
    if asked.kav is None:
        return World(KAV_SETTINGS, speak=voices.speak)
    elsewhere = Elsewhere(
        asked.kav.rstrip("/"),
        public_url=os.environ.get("PUBLIC_BASE_URL", ""),
        auth_token=os.environ.get("TWILIO_AUTH_TOKEN", ""),
        account_sid=os.environ.get("TWILIO_ACCOUNT_SID", ACCOUNT_SID),
    )
    print(f"The Kav at {asked.kav} must run with OPENAI_REALTIME_URL={_model_url(asked.model_port)}\n")
    return World(speak=voices.speak, elsewhere=elsewhere, model_port=asked.model_port)


async def _rehearse(asked: argparse.Namespace, scenarios: Sequence[tuple[Path, Scenario]]) -> int:
    voices = Voices(scenario for _path, scenario in scenarios)
    await asyncio.to_thread(voices.warm_up)
    parallel = asked.parallel or (1 if asked.files or asked.hand_tests else PARALLEL)
    places = asyncio.Semaphore(parallel)

    async def one(path: Path, scenario: Scenario, *, alone: bool = parallel == 1) -> bool:
        async with places:
            printer = to_terminal(dict(os.environ), at_once=alone)
            verdicts = await rehearse(world, scenario, voices, printer, asked.wav / f"{path.stem}.wav")
            return all(verdict.ok is not False for verdict in verdicts)

    async with _world(asked, voices) as world:
        if asked.kav is not None:
            await _check_served(asked.kav)
        if parallel > 1:
            print(f"{_calls(len(scenarios))}, {parallel} at the same time; each is printed when it is over.\n")
        went = await asyncio.gather(*(one(path, scenario) for path, scenario in scenarios))
        failed = [one for one, well in zip(scenarios, went, strict=True) if not well]
        if failed and parallel > 1:
            print(f"{_calls(len(failed))} did not go as they must; once more, without the others:\n")
            failed = [(path, scenario) for path, scenario in failed if not await one(path, scenario, alone=True)]
        if not world.model.sessions:
            print(f"Kav opened no session here: was it started with OPENAI_REALTIME_URL={world.model.url} ?")
    _sum_up(len(scenarios), [scenario for _, scenario in failed])
    return 1 if failed else 0


async def _check_served(kav: str) -> None:
    """Raises OSError when nobody listens there."""
    parts = urlsplit(kav)
    try:
        _reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    except OSError as error:
        raise OSError(f"no Kav listens at {kav}; start it, or leave --kav out to have one started") from error
    writer.close()


async def rehearse(
    world: World, scenario: Scenario, voices: Voices, printer: Printer, recording: Path
) -> list[Verdict]:
    """Play one scenario, print it, keep its recording; returns the verdicts."""
    printer.begin(scenario)
    performance = await play(world, scenario, printer.tell, voices.speak)
    verdicts = judge(scenario, performance)
    recording.parent.mkdir(parents=True, exist_ok=True)
    performance.call.write_wav(recording)
    failed = any(verdict.ok is False for verdict in verdicts)
    log = world.kav.log_of(performance.call.sid) if failed and world.owns_kav else []
    printer.end(verdicts, recording, log)
    printer.flush()
    return verdicts


def _sum_up(played: int, failed: Sequence[Scenario]) -> None:
    if failed:
        titles = "; ".join(scenario.title for scenario in failed)
        print(f"{len(failed)} of {played} calls did not go as they must: {titles}")
    else:
        print(f"{_calls(played)}, every verdict holds.")


def _calls(number: int) -> str:
    return "1 call" if number == 1 else f"{number} calls"


if __name__ == "__main__":
    sys.exit(main())
