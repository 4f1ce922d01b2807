"""Guards a call that Twilio is asked about, or told to end: not forgotten before the answer, not cut off in words."""

import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

import stream_registry
from call_aftermath import Aftermath
from kav.after_call import AfterCall
from kav.call.aftermath import Chore
from kav.flow_files import read_flow
from kav.records import Records
from kav.settings import Settings
from kav.wire.twilio_rest import HangUp, TwilioRest, UnreachableError
from stream_registry import Entry
from tests.flows.files import SMALL, write
from tests.local_servers import ACCOUNT, TOKEN

LONG_AGO_S = 1_000.0


class Slow(TwilioRest):
    """Twilio's REST API while it is down: every answer is a failure, and comes when the test says so."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.answers, self.asked = gevent.event.Event(), 0

    def fetch_status(self, call_sid: str) -> tuple[str, int | None] | None:  # noqa: ARG002 - the API's
        """Fail, sooner or later."""
        self.asked += 1
        self.answers.wait()
        raise UnreachableError("Twilio is away")


@pytest.fixture
def entry(tmp_path: Path) -> Iterator[Entry]:
    """A call that ended long ago, and whose terminal status never came."""
    flow = read_flow(write(tmp_path, SMALL))
    entry = stream_registry.register(
        "CA_asked", direction="inbound", flow=flow, from_number="+972501234567", to_number="+97231110042"
    )
    stream_registry.end("CA_asked", "caller_hung_up")
    entry["ended_at"] = time.monotonic() - LONG_AGO_S
    yield entry
    stream_registry.registry.pop("CA_asked", None)


def test_a_call_is_kept_while_twilio_is_asked_and_asked_about_again(entry: Entry, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, TWILIO_ACCOUNT_SID=ACCOUNT, TWILIO_AUTH_TOKEN=TOKEN)  # type: ignore[call-arg, arg-type]  # pydantic-settings' own argument, and a str for a secret
    records, rest = Records(f"sqlite:///{tmp_path / 'kav.db'}"), Slow(settings)
    aftermath = Aftermath(settings, records, rest, AfterCall(settings, records, rest))
    for _ in range(3):
        aftermath.look()
        gevent.sleep(0)
        assert stream_registry.get("CA_asked") is entry, "Twilio has not answered yet"
    assert rest.asked == 1
    rest.answers.set()
    gevent.sleep(0)
    assert Chore.FETCH_STATUS not in entry["chores_done"], "it is asked again, some seconds later"
    aftermath.look()
    assert stream_registry.get("CA_asked") is entry
    entry["terminal_at"] = time.monotonic()
    aftermath.look()
    assert stream_registry.get("CA_asked") is None


@pytest.mark.parametrize("draining", [False, True])
def test_in_a_drain_nobody_is_hung_up_on_who_may_be_hearing_the_next_process_s_apology(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, draining: bool
) -> None:
    settings = Settings(_env_file=None, TWILIO_ACCOUNT_SID=ACCOUNT, TWILIO_AUTH_TOKEN=TOKEN)  # type: ignore[call-arg, arg-type]  # as above
    records, rest, hung_up = Records(f"sqlite:///{tmp_path / 'kav.db'}"), TwilioRest(settings), list[str]()

    def hang_up(call_sid: str) -> HangUp:
        hung_up.append(call_sid)
        return HangUp.ENDED

    monkeypatch.setattr(rest, "hang_up", hang_up)
    aftermath = Aftermath(settings, records, rest, AfterCall(settings, records, rest))
    if draining:
        aftermath.drain()
    entry["end_reason"], entry["after_stream"] = "model_failed", "apology"
    entry["ended_at"] = time.monotonic() - settings.HANGUP_FALLBACK_S - 1
    aftermath.look()
    gevent.sleep(0)
    assert hung_up == ([] if draining else ["CA_asked"])
