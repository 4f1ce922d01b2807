"""What is unsaved when Kav stops reaches the log's reader, however slow; what cannot is counted, and nobody waits."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kav.records.writer import CAPACITY

ROOT = Path(__file__).parents[2]
TURNS = 20
"""Of each call, as the probe has it."""
HUB_S = 1.0
"""How late others may be while a full backlog is told: all at once takes half as long again on a machine that rests."""
ATTEMPTS = 3
"""A machine may stand still as long as that; Kav, which held others up, would hold them up each time."""


@dataclass(frozen=True)
class Seen:
    """What came out of a process that stopped."""

    lines: list[dict[str, Any]]
    told: dict[str, Any]
    """What it says itself."""

    @property
    def records(self) -> list[tuple[str, int]]:
        lost = [line["data"] for line in self.lines if line["message"] == "record_not_saved"]
        return [(line["call_sid"], line["record"]["number"]) for line in lost]

    @property
    def not_written(self) -> list[dict[str, Any]]:
        return [line["data"] for line in self.lines if line["message"] == "lines_not_written"]


def stop(count: int, *, seconds: float, bytes_a_second: float) -> Seen:
    """Stop a process with so many unsaved records, and read what it logs at that speed; 0: only when it is gone."""
    command = [sys.executable, "-m", "tests.records.exit_probe", str(count), str(seconds)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, cwd=ROOT, env=buffered, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if not bytes_a_second:
            gone(process)
        log = read(process.stderr, bytes_a_second)
        told = json.loads(process.stdout.read())
    assert process.returncode == 0
    whole = log.split(b"\n")[:-1]  # what a process was about to write to a full pipe is cut
    return Seen([json.loads(line) for line in whole], told)


def gone(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def read(pipe: IO[bytes], bytes_a_second: float) -> bytes:
    found = []
    while piece := os.read(pipe.fileno(), 8192):
        found.append(piece)
        if bytes_a_second:
            time.sleep(len(piece) / bytes_a_second)
    return b"".join(found)


def numbered(count: int) -> list[tuple[str, int]]:
    return [(f"CA{number // TURNS:032x}", number % TURNS) for number in range(count)]


def test_thousands_of_unsaved_records_reach_a_slow_reader_one_line_each() -> None:
    count = 12_000  # more than the lines of other kinds that may wait
    seen = stop(count, seconds=20, bytes_a_second=2_000_000)
    assert seen.told["left"] == count
    assert seen.records == numbered(count)
    assert seen.not_written == []


def test_what_a_reader_does_not_take_in_time_is_counted_in_the_last_line() -> None:
    count, seconds = 5_000, 2.0
    seen = stop(count, seconds=seconds, bytes_a_second=300_000)
    (last,) = seen.not_written
    assert seen.lines[-1]["data"] == last
    assert seen.records == numbered(count)[: len(seen.records)]
    assert (last["lines"], last["records"]) == (count - len(seen.records),) * 2
    assert last["lines"] > 0
    assert seconds - 0.5 < seen.told["drain_s"] < seconds + 5


def test_a_reader_that_takes_nothing_is_not_waited_for() -> None:
    seen = stop(2_000, seconds=9, bytes_a_second=0)
    assert seen.told["drain_s"] < 8
    assert 0 < len(seen.records) < 2_000


def test_others_have_their_turn_while_thousands_of_records_are_told() -> None:
    lags: list[float] = []
    while not lags or (min(lags) >= HUB_S and len(lags) < ATTEMPTS):
        lags.append(stop(CAPACITY, seconds=0, bytes_a_second=2_000_000).told["worst_lag_s"])
    assert min(lags) < HUB_S, lags
