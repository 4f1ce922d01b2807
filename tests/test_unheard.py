"""Guards calls whose process is gone: Twilio is asked how they ended, nothing else, and for as long as it takes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import gevent
import pytest

import call_unheard
from call_unheard import MOST_FAILURES, Unheard
from kav.call.aftermath import FIRST_RETRY_S, UNHEARD_FOR_S
from kav.records import Records
from kav.settings import Settings
from kav.wire.twilio_rest import TRIES, TwilioRest
from tests.local_servers import ACCOUNT, TOKEN, TwilioApi, twilio_api


class Took(Records):
    """Records that have just taken calls over, and note what they are told."""

    def __init__(self, folder: Path, *call_sids: str) -> None:
        super().__init__(f"sqlite:///{folder / 'kav.db'}")
        self.taken = list(call_sids)
        self.told: list[tuple[object, ...]] = []

    def unheard(self) -> list[str]:
        """Those, once."""
        taken, self.taken = self.taken, []
        return taken

    def save_call_status(self, *told: object) -> None:  # type: ignore[override]  # nobody waits for it
        """Note it."""
        self.told.append(told)


@pytest.fixture
def api() -> Iterator[TwilioApi]:
    with twilio_api() as api:
        yield api


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The time at which an answer comes; monotonic seconds."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(call_unheard, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def look(clock: SimpleNamespace) -> Callable[[Unheard, float], None]:
    """Look at some moment, and wait until all that was due then was asked."""

    def look(unheard: Unheard, at: float) -> None:
        clock.now = at
        unheard.look(at)
        with gevent.Timeout(10):
            while unheard.asking:
                gevent.sleep(0.01)

    return look


def rest(api: TwilioApi, token: str = TOKEN) -> TwilioRest:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
        TWILIO_ACCOUNT_SID=ACCOUNT,
        TWILIO_AUTH_TOKEN=token,  # type: ignore[arg-type]  # a str for a secret
        TWILIO_API_BASE_URL=api.url,
    )
    return TwilioRest(settings, sleep=lambda _: None)


Look = Callable[[Unheard, float], None]


def test_what_twilio_says_is_written_down_and_no_call_is_touched(api: TwilioApi, look: Look, tmp_path: Path) -> None:
    records = Took(tmp_path, "CA1", "CA2", "CA-gone")
    api.calls |= {"CA1": {"status": "completed", "duration": "61"}, "CA2": {"status": "no-answer", "duration": None}}
    unheard = Unheard(records, rest(api))
    for at in (0.0, FIRST_RETRY_S, UNHEARD_FOR_S):
        look(unheard, at)
    assert records.told == [("CA1", "completed", 61), ("CA2", "no-answer", None)]
    assert [(method, path.rpartition("/")[2]) for method, path, _, _ in api.seen] == [
        ("GET", "CA1.json"),
        ("GET", "CA2.json"),
        ("GET", "CA-gone.json"),
    ]


def test_a_call_that_goes_on_is_asked_about_later_and_left_to_go_on(api: TwilioApi, look: Look, tmp_path: Path) -> None:
    records = Took(tmp_path, "CA1")
    api.calls["CA1"] = {"status": "in-progress"}
    unheard = Unheard(records, rest(api))
    for at, asked in ((0.0, 1), (4.9, 1), (5.0, 2), (14.9, 2), (15.0, 3)):
        look(unheard, at)
        assert len(api.seen) == asked, at
    api.calls["CA1"] = {"status": "completed", "duration": "300"}
    look(unheard, 35.0)
    look(unheard, UNHEARD_FOR_S)
    assert records.told == [("CA1", "completed", 300)]
    assert {method for method, *_ in api.seen} == {"GET"}


def test_while_twilio_is_away_a_few_are_tried_and_all_are_asked_about_when_it_is_back(
    api: TwilioApi, look: Look, tmp_path: Path
) -> None:
    sids = [f"CA{number}" for number in range(9)]
    records = Took(tmp_path, *sids)
    api.calls |= {sid: {"status": "completed", "duration": "1"} for sid in sids}
    api.faults = [503] * TRIES * MOST_FAILURES
    unheard = Unheard(records, rest(api))
    look(unheard, 0.0)
    assert (len(api.seen), records.told) == (TRIES * MOST_FAILURES, [])
    look(unheard, FIRST_RETRY_S)
    assert sorted(records.told) == [(sid, "completed", 1) for sid in sids]


def test_a_call_that_fails_alone_holds_up_no_other(api: TwilioApi, look: Look, tmp_path: Path) -> None:
    records = Took(tmp_path, "CA1", "CA2", "CA3")
    api.calls |= {sid: {"status": "busy"} for sid in ("CA1", "CA2", "CA3")}
    api.faults = [400]
    unheard = Unheard(records, rest(api))
    look(unheard, 0.0)
    assert [told[0] for told in records.told] == ["CA2", "CA3"]
    look(unheard, UNHEARD_FOR_S)
    assert len(api.seen) == 3, "Twilio said no to the first one, for good"


def test_a_call_that_never_ends_is_given_up(
    api: TwilioApi, look: Look, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    api.calls["CA1"] = {"status": "in-progress"}
    unheard = Unheard(Took(tmp_path, "CA1"), rest(api))
    look(unheard, 0.0)
    look(unheard, UNHEARD_FOR_S)
    look(unheard, 2 * UNHEARD_FOR_S)
    assert len(api.seen) == 2
    assert "given up" in caplog.text


def test_without_an_account_nobody_is_asked(api: TwilioApi, look: Look, tmp_path: Path) -> None:
    records = Took(tmp_path, "CA1")
    look(Unheard(records, rest(api, token="")), 0.0)
    assert (api.seen, records.taken) == ([], [])
