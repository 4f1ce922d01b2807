"""A telephone world for one bench: the loop, the model's server, Kav itself, and calls."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench import certificate
from bench.caller import FRAME_TAIL, Caller, MediaSocket
from bench.kav_process import KavFailed, KavProcess
from bench.loop import Loop
from bench.measure import Measure
from bench.model import ModelServer, ModelSession

AT_ONCE = 6
"""Calls that are being set up at the same time: more would measure the set-up."""

SETUP_S = 20.0
DEFAULT_NUMBER = "+97231234567"
"""No flow has it, so that the default flow answers: one without a script."""


class World:
    """Places calls and knows which are talking."""

    def __init__(self, loop: Loop, model: ModelServer, kav: KavProcess, measure: Measure) -> None:
        self.loop, self.model, self.kav, self.measure = loop, model, kav, measure
        self.talking: list[Caller] = []
        """Calls in which the bot's audio has arrived, the oldest first."""
        self.delay_s = 0.0
        """One-way delay between Twilio and Kav, of calls placed from now on."""
        self.to = DEFAULT_NUMBER
        """Whom calls are for that are placed from now on."""
        self._callers: list[Caller] = []
        self._wanted = 0
        self._pending = 0

    def place(self, count: int) -> None:
        """Place `count` more calls, some at a time; `until_talking` waits for them."""
        self._wanted += count
        self._place_next()

    def until_talking(self) -> None:
        """Wait until all calls that were placed are talking.

        Raises:
            KavFailed: they were not, in time.
        """
        timeout_s = SETUP_S + self._wanted * 0.1
        if not self.loop.run(timeout_s, until=lambda: not self._wanted and not self._pending):
            raise KavFailed(
                f"{self._pending} calls did not begin to talk within {timeout_s:.0f} s: {self.measure.refusals[:3]}. "
                f"The end of Kav's log:\n{self.kav.log_tail()}"
            )

    def media(self, caller: Caller) -> MediaSocket:
        assert caller.media is not None, "only a talking caller has its media socket for sure"
        return caller.media

    def session(self, caller: Caller) -> ModelSession | None:
        """The model's side of the call, once the caller's audio has arrived there."""
        return self.model.by_call.get(caller.number)

    def retire(self, caller: Caller) -> None:
        """The call is over, or about to be: it talks no more."""
        if caller in self.talking:
            self.talking.remove(caller)

    def close(self) -> None:
        """Free every descriptor."""
        self.model.close()
        for caller in self._callers:
            if caller.media is not None:
                caller.media.connection.close()
        self.loop.close()

    def _place_next(self) -> None:
        while self._wanted and self._pending < AT_ONCE:
            self._wanted -= 1
            self._pending += 1
            caller = Caller(self.loop, self.kav.port, len(self._callers) + 1, self.measure, self._talks, self.to)
            self._callers.append(caller)
            caller.delay_s = self.delay_s

    def _talks(self, caller: Caller) -> None:
        self._pending -= 1
        self.talking.append(caller)
        self._place_next()


@contextmanager
def world(settings: Mapping[str, str] | None = None, *, tls: bool = False) -> Iterator[World]:
    """Start a world, over ws or wss to the model, with settings of its own, and take it down."""
    loop, measure = Loop(), Measure()
    folder = Path(tempfile.mkdtemp(prefix="kav-bench-ca-"))
    try:
        ca_file, context = certificate.make(folder) if tls else (None, None)
        model = ModelServer(loop, measure, FRAME_TAIL, context)
        with KavProcess(model.port, ca_file, settings) as kav:
            a_world = World(loop, model, kav, measure)
            yield a_world
            a_world.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
