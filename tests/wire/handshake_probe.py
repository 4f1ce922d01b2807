"""Run as a process, patched as in production: what stays open of TLS handshakes that are given up?

    python -m tests.wire.handshake_probe PORT

Nobody answers at the port. Prints one JSON object: by who gave up, how many descriptors more there were after five of
them, without the garbage collector.
"""

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402 - patching is first
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402

import gevent  # noqa: E402

from kav.call.flow import HttpTool  # noqa: E402
from kav.wire.connector import Connector, Endpoint  # noqa: E402
from kav.wire.http_tools import HttpTools  # noqa: E402
from kav.wire.model_leg import ModelLeg  # noqa: E402

TIMES = 5
GIVEN_UP_S = 0.06


def more_after(work: Callable[[], object]) -> int:
    """What a first time leaves open, such as a resolver's, is not counted."""
    work()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    gc.disable()
    for _ in range(TIMES):
        work()
    gevent.sleep(GIVEN_UP_S)
    after = len(os.listdir("/proc/self/fd"))
    gc.enable()
    return after - before


def main(port: int) -> None:
    """Give up in each of the ways in which it may happen."""
    connector = Connector([Endpoint(f"wss://localhost:{port}", "gpt-realtime-2.1", "key")], 5, 0)
    tools = HttpTools({}, may_reach=lambda _: True)
    tool = HttpTool("slots", "Free slots.", f"https://localhost:{port}/", "GET", {"type": "object"}, GIVEN_UP_S)

    def leg(wait_s: float) -> None:
        leg = ModelLeg("CA1", connector, {}, "+972", GIVEN_UP_S)
        gevent.sleep(wait_s)
        leg.close()
        leg.wait_done(5)

    found = {
        "a call that is over": more_after(lambda: leg(GIVEN_UP_S / 2)),
        "a model that takes too long": more_after(lambda: leg(GIVEN_UP_S * 2)),
        "a tool that takes too long": more_after(lambda: tools.call(tool, "{}")),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
