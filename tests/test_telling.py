"""Guards what a process that stops tells Twilio of a call without being asked: the right thing, and in bounded time."""

import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

import routes_twilio
import stream_registry
from kav.call.actions import EndReason
from kav.settings import Settings
from kav.wire.twilio_rest import HangUp, TwilioRest
from realtime_prompt_builder import load_phrases
from stream_registry import AfterStream, Entry
from tests.flows.files import SMALL, flow_of
from tests.in_process import kavs, with_twilio
from tests.local_servers import TwilioApi

BOUND_S = 0.2
OWNER = "owner: {sms: +972509876543}\n"
HUMAN = "transfer: {to: +97231110009, announcement: {he: רגע אחד., en: One moment.}}\n"


class Mute(TwilioRest):
    """Twilio's REST API behind a name server that never answers: no timeout of the package's bounds that."""

    def hang_up(self, call_sid: str) -> HangUp:  # noqa: ARG002 - the API's
        """Wait."""
        gevent.sleep(60)
        return HangUp.ENDED

    def redirect(self, call_sid: str, twiml: str) -> None:  # noqa: ARG002 - the API's
        """Wait."""
        gevent.sleep(60)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[routes_twilio.Desk]:
    with kavs(tmp_path, with_twilio(TwilioApi())) as start:
        yield start(records=False).extensions["kav"].twilio


@pytest.fixture
def entry(desk: routes_twilio.Desk, tmp_path: Path) -> Entry:  # noqa: ARG001 - it empties the registry
    """A call that goes on."""
    flow = flow_of(tmp_path, SMALL + HUMAN + OWNER)
    return stream_registry.register(
        "CA_told", direction="inbound", flow=flow, from_number="+972501234567", to_number="+97231110042"
    )


@pytest.mark.parametrize("after_stream", ["transfer", "announced_transfer", "hang_up"])
def test_a_name_server_that_hangs_does_not_keep_the_caller_waiting(
    desk: routes_twilio.Desk, entry: Entry, monkeypatch: pytest.MonkeyPatch, after_stream: AfterStream
) -> None:
    monkeypatch.setattr(routes_twilio, "HAND_OVER_S", BOUND_S, raising=False)
    monkeypatch.setattr(routes_twilio, "TELL_S", BOUND_S, raising=False)
    entry["after_stream"] = after_stream
    began_at = time.monotonic()
    with gevent.Timeout(10 * BOUND_S):
        assert desk.tell(Mute(Settings(_env_file=None)), entry) is False  # type: ignore[call-arg]  # pydantic-settings' own argument
    assert time.monotonic() - began_at >= BOUND_S


class Deft(TwilioRest):
    """One that does at once what it is told."""

    def redirect(self, call_sid: str, twiml: str) -> None:  # noqa: ARG002 - the API's
        """Keep what was told."""
        self.told = twiml


@pytest.mark.parametrize(
    ("reason", "closed", "own_number", "promised"),
    [
        ("model_failed", False, "+97231110042", True),
        ("shutdown", False, "+97231110042", False),
        ("model_failed", True, "+97231110042", False),
        ("model_failed", False, "sip:bakery@example.com", False),
    ],
    ids=["time enough", "stops", "is gone in a moment", "no number to send from"],
)
def test_a_call_back_is_promised_only_where_the_owner_is_told_for_sure(
    desk: routes_twilio.Desk, entry: Entry, reason: EndReason, closed: bool, own_number: str, promised: bool
) -> None:
    entry["to_number"], desk._media.closed = own_number, closed  # noqa: SLF001 - what the drain sets
    stream_registry.announce(entry, reason, "apology")
    rest = Deft(Settings(_env_file=None))  # type: ignore[call-arg]  # as above
    assert desk.tell(rest, entry) is True
    said = load_phrases().text("apology_called_back" if promised else "apology", "he")
    assert f">{said}</Say><Hangup" in rest.told
