"""`python -m bench [PART...] [--quick] [--json FILE]`: prints tables and verdicts; exit status 1 when one is missed."""

import argparse
import gc
import json
import platform
import sys
import time
from pathlib import Path
from typing import Protocol

from bench import barge_in, capacity, console, ends, first_word, judge
from bench.kav_process import CORES, KavFailed
from bench.report import Report


class Part(Protocol):
    """A bench."""

    def __call__(self, *, quick: bool) -> Report: ...


PARTS: dict[str, Part] = {
    "first-word": first_word.run,
    "barge-in": barge_in.run,
    "judge": judge.run,
    "ends": ends.run,
    "console": console.run,
    "capacity": capacity.run,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Kav over loopback, on one core.")
    parser.add_argument("part", nargs="*", choices=[[], *PARTS], help="default: all")
    parser.add_argument("--quick", action="store_true", help="fewer calls, some two minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args(arguments)
    gc.disable()  # the bench's own pauses would be measured
    began = time.monotonic()
    print(f"{_machine()}, Python {platform.python_version()}; Kav on core %d, callers and model on core %d" % CORES)
    reports = [_run(PARTS[name], quick=options.quick) for name in options.part or PARTS]
    if options.json:
        options.json.write_text(json.dumps([report.as_json() for report in reports], indent=1) + "\n")
    missed = [target for report in reports for target in report.targets if not target.met]
    print(f"{len(missed)} targets missed; {time.monotonic() - began:.0f} s")
    return 1 if missed else 0


def _run(part: Part, *, quick: bool) -> Report:
    report = part(quick=quick)
    report.print()
    gc.collect()
    return report


def _machine() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KavFailed as failed:
        sys.exit(str(failed))
