"""Guards the figure of what judging costs: it compares the same turn with and without, in CPU and in round trips."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from bench.judge import JUDGED, LATENCIES_S, UNJUDGED, Flow, Measured, Turns
from rehearsal.kav import ROOT

WITHIN_S = 100.0


def measured(flow: Flow, first_audio_s: list[float]) -> Measured:
    turns = {latency_s: Turns(first_audio_s, len(first_audio_s) * flow.trips) for latency_s in LATENCIES_S}
    return Measured(flow, turns, cpu_s=0.5)


def test_what_calls_cost_without_turns_is_not_the_turns_cost() -> None:
    assert measured(UNJUDGED, [0.1] * 10).turn_us(quiet_cpu_s=0.2) == pytest.approx(30_000)


def test_what_is_kavs_own_is_what_the_round_trips_leave() -> None:
    assert measured(UNJUDGED, [0.103]).own_ms(0.1) == pytest.approx(3)
    assert measured(JUDGED, [0.405]).own_ms(0.2) == pytest.approx(5)


async def test_a_judged_turn_takes_one_round_trip_more_and_its_latency(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench", "judge", "--quick", "--json", str(file)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert file.exists(), printed.decode()
    rows = json.loads(file.read_text())[0]["rows"]
    of_turns = {(row["turn"].strip(), row["model_ms"]): row for row in rows if "model_ms" in row}
    assert len(of_turns) == 6, "two kinds of call at three latencies"
    for latency_ms in (0, 100, 200):
        plain, judged = of_turns["not judged", latency_ms], of_turns["judged", latency_ms]
        assert (plain["round_trips"], judged["round_trips"]) == (1, 2)
        assert plain["p50"] >= latency_ms
        assert judged["p50"] >= 2 * latency_ms
    assert [row["turn"].strip() for row in rows if "us" in row] == ["not judged", "judged"]
