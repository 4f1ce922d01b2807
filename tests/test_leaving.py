"""Guards the arithmetic of leaving: whatever takes all the time it may, the process is gone before Heroku kills it."""

from types import SimpleNamespace
from typing import Any

import pytest

import app
import drain
import stream_registry
from kav import log
from kav.settings import HEROKU_DRAIN_S, Settings

HEROKU_KILLS_S = 30.0
SPARE_S = 0.75
"""For an interpreter to end in; and each step may look once more."""


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def take_all(self, timeout: float) -> int:
        """A step that is never done within its time."""
        self.sleep(timeout)
        return 0


@pytest.mark.parametrize("given", [{}, {"DYNO": "web.1", "DRAIN_SECONDS": 300}, {"DRAIN_SECONDS": 0}])
def test_a_process_in_which_nothing_ever_finishes_is_gone_in_time(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    clock, settings = Clock(), Settings(_env_file=None, **given)  # type: ignore[call-arg]  # pydantic-settings' own argument
    monkeypatch.setattr(drain, "time", clock)
    monkeypatch.setattr(drain, "gevent", clock)
    monkeypatch.setattr(stream_registry, "registry", {})
    monkeypatch.setattr(log, "drain", clock.take_all)  # a reader that is slow to the last
    nothing = SimpleNamespace(stop=lambda: None, drain=lambda: None)
    slow = SimpleNamespace(stop=clock.take_all, join=clock.take_all)
    media = SimpleNamespace(stop=lambda: None, sockets=1, live=set())
    kav: Any = SimpleNamespace(
        rest=SimpleNamespace(has_credentials=False),
        settings=settings,
        media=media,
        aftermath=nothing,
        admission=nothing,
        shared=slow,
        after_call=slow,
        records=slow,
    )
    server: Any = slow
    aftermath: Any = slow
    app._leave(kav, server, aftermath)  # noqa: SLF001 - what serve() does last
    took_s = clock.now - 1000.0
    assert settings.drain_s + drain.LAST_WORDS_S <= took_s <= settings.drain_s + drain.LEAVE_S + 0.1
    assert took_s <= HEROKU_KILLS_S - SPARE_S


def test_the_records_have_their_second_whatever_the_others_took() -> None:
    assert HEROKU_DRAIN_S + drain.LEAVE_S <= HEROKU_KILLS_S - 1
    countdown = drain.Countdown(0.0)
    assert max(app.RECORDS_S, countdown.take(app.SHUTDOWN_GRACE_S)) == app.RECORDS_S
