"""Run as a process, patched as in production: stop with a database that is away, and leave as app.py does.

    python -m tests.records.exit_probe RECORDS SECONDS

SECONDS are those that the log has at the end. Prints one JSON object; the log itself goes to standard error.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402 - patching is first
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402

from app import leave  # noqa: E402
from kav import log  # noqa: E402
from kav.records import Records  # noqa: E402
from tests.records.stall_probe import watch  # noqa: E402

AWAY = "postgresql://nobody@127.0.0.1:1/nowhere"
TURNS = 20
"""Of each call."""


def tell(records: Records, number: int) -> None:
    known = {"text": "שלום " * 20, "heard": "שלום " * 10, "at_ms": number, "language": "he", "who": "bot"}
    records.save_turn(f"CA{number // TURNS:032x}", number % TURNS, kind="speak", **known)  # type: ignore[arg-type]


def main(count: int, seconds: float) -> None:
    log.init("INFO", as_json=True)
    records = Records(AWAY, leases=False)
    for number in range(count):
        tell(records, number)
    lags: list[float] = []
    watcher, begun = gevent.spawn(watch, lags), time.monotonic()
    gevent.sleep(0)
    left = records.stop(0)
    watcher.kill()
    stopped = time.monotonic()
    log.drain(seconds)
    took = {"stop_s": stopped - begun, "drain_s": time.monotonic() - stopped, "worst_lag_s": max(lags, default=99.0)}
    os.write(1, json.dumps({"left": left, **took}).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
    leave(0)
