"""`python -m chaos [--short] [--seed N]`: a storm over thirty calls, then a soak; exit status 1 if a promise broke."""

import argparse
import asyncio
import random
import sys

from bench.report import Report
from chaos.servers import Servers
from chaos.soak import soak
from chaos.weather import storm

CALLS = 30
STORM_S, SHORT_STORM_S = 120.0, 25.0
SOAK_CALLS, SHORT_SOAK_CALLS = 3000, 240


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"{SHORT_STORM_S:.0f} s and {SHORT_SOAK_CALLS} calls")
    parser.add_argument("--calls", type=int, default=CALLS, metavar="N", help=f"at a time; default: {CALLS}")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the same weather again; default: another")
    asked = parser.parse_args(arguments)
    seed = asked.seed or random.randrange(1, 1_000_000)
    print(f"seed {seed}", flush=True)
    reports = asyncio.run(_both(asked.calls, seed, short=asked.short))
    for report in reports:
        print(f"\n{report.part}")
        report.print()
    return 0 if all(report.met for report in reports) else 1


async def _both(calls: int, seed: int, *, short: bool) -> list[Report]:
    async with Servers() as servers:
        print(servers.names, flush=True)
        return [
            await storm(servers, calls, SHORT_STORM_S if short else STORM_S, seed),
            await soak(servers, SHORT_SOAK_CALLS if short else SOAK_CALLS, seed),
        ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
