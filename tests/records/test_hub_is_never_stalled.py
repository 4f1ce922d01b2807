"""Guards every live call: a database that hangs, in a patched process as in production, stops no greenlet."""

import json
import subprocess
import sys
from pathlib import Path

SLOW_S = 6.0
STALLED_S = 3.0  # a driver call on the hub's thread would cost SLOW_S; the rest is room for a busy machine


def test_a_slow_database_does_not_stall_the_hub(database_url: str) -> None:
    command = [sys.executable, "-m", "tests.records.stall_probe", database_url, str(SLOW_S)]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert (seen["booted"], seen["saved"], seen["left"]) == (True, True, 0), (seen, run.stderr)
    assert seen["took_s"] >= SLOW_S * 0.9, seen
    assert seen["worst_lag_s"] < STALLED_S, seen
