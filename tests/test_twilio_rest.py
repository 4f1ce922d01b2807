"""Guards what Kav asks of Twilio over REST: calls end once and for all, faults are retried, errors tell the remedy."""

import logging
import ssl
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from twilio.base.exceptions import TwilioException, TwilioServiceException  # type: ignore[import-untyped]  # untyped
from twilio.http.response import Response  # type: ignore[import-untyped]  # ships no types
from twilio.rest import Client  # type: ignore[import-untyped]  # ships no types

from kav.settings import Settings
from kav.wire.twilio_rest import (
    FIRST_RETRY_S,
    LAST_RETRY_S,
    NOT_IN_PROGRESS,
    TRIES,
    HangUp,
    NewCall,
    NoCredentialsError,
    Refusal,
    RefusedCredentialsError,
    RefusedRequestError,
    TwilioRest,
    UnknownOutcomeError,
    UnreachableError,
    is_retryable,
    pause_s,
    refusal_of,
)
from tests.local_servers import ACCOUNT, NUMBER, NUMBER_SID, TOKEN, TwilioApi, twilio_api
from tests.wire.tool_server import ToolServer, make_certificate, status, tool_server


@pytest.fixture
def api() -> Iterator[TwilioApi]:
    with twilio_api() as api:
        yield api


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def rest(api: TwilioApi, pauses: list[float]) -> TwilioRest:
    return connect(api.url, pauses)


def connect(
    url: str, pauses: list[float], account: str = ACCOUNT, token: str = TOKEN, timeout_s: float = 5
) -> TwilioRest:
    settings = Settings(_env_file=None, TWILIO_ACCOUNT_SID=account, TWILIO_AUTH_TOKEN=token, TWILIO_API_BASE_URL=url)  # type: ignore[call-arg, arg-type]  # pydantic-settings' own argument, and a str for a secret
    return TwilioRest(settings, timeout_s=timeout_s, sleep=pauses.append)


def test_a_live_call_is_ended(api: TwilioApi, rest: TwilioRest) -> None:
    api.calls["CA1"] = {"status": "in-progress"}
    assert rest.hang_up("CA1") is HangUp.ENDED
    method, path, form, authorization = api.seen[0]
    assert (method, path, form) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Calls/CA1.json", {"Status": "completed"})
    assert authorization == "Basic " + b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
    assert api.calls["CA1"]["status"] == "completed"


def test_a_call_that_is_over_or_unknown_counts_as_ended(api: TwilioApi, rest: TwilioRest) -> None:
    api.calls["CA1"] = {"status": "completed"}
    assert (rest.hang_up("CA1"), rest.hang_up("CA404")) == (HangUp.ALREADY_OVER, HangUp.ALREADY_OVER)


CALL = NewCall(
    to="+972501234567",
    from_=NUMBER,
    voice_url="https://kav.example.com/twilio/outbound-voice?ticket=t",
    fallback_url="https://kav.example.com/twilio/voice-fallback",
    status_url="https://kav.example.com/twilio/status?ticket=t",
    machine_url="https://kav.example.com/twilio/machine?ticket=t",
    waits_for_beep=True,
    ring_s=45,
    time_limit_s=960,
)


def test_a_call_is_placed_with_every_stage_reported_and_machines_detected_beside_it(
    api: TwilioApi, rest: TwilioRest
) -> None:
    assert rest.place_call(CALL) == "CA7"
    ((method, path, form, _),) = api.seen
    assert (method, path) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Calls.json")
    assert (form["To"], form["From"], form["Url"]) == (CALL.to, CALL.from_, CALL.voice_url)
    assert (form["StatusCallback"], form["FallbackUrl"]) == (CALL.status_url, CALL.fallback_url)
    assert (form["AsyncAmd"], form["AsyncAmdStatusCallback"]) == ("true", CALL.machine_url)
    assert (form["MachineDetection"], form["Timeout"], form["TimeLimit"]) == ("DetectMessageEnd", "45", "960")


@pytest.mark.parametrize("fault", [500, 503])
def test_a_call_that_may_have_been_placed_is_not_placed_again(
    api: TwilioApi, rest: TwilioRest, pauses: list[float], fault: int
) -> None:
    api.faults = [fault]
    with pytest.raises(UnknownOutcomeError, match="look for it in Twilio's call log"):
        rest.place_call(CALL)
    assert (len(api.seen), pauses) == (1, [])


def test_a_call_whose_answer_does_not_come_in_time_may_have_been_placed(api: TwilioApi, pauses: list[float]) -> None:
    api.faults = [0]
    with pytest.raises(UnknownOutcomeError):
        connect(api.url, pauses, timeout_s=1.5).place_call(CALL)
    assert (len(api.seen), pauses) == (1, [])


def test_a_call_that_twilio_was_never_asked_for_or_refused_was_not_placed(
    api: TwilioApi, rest: TwilioRest, pauses: list[float]
) -> None:
    with pytest.raises(UnreachableError):
        connect("http://127.0.0.1:1", pauses).place_call(CALL)
    assert len(pauses) == TRIES - 1
    for fault, error in {401: RefusedCredentialsError, 400: RefusedRequestError}.items():
        api.faults = [fault]
        with pytest.raises(error, match="the call to …4567"):
            rest.place_call(CALL)
    assert (len(api.seen), len(pauses)) == (2, TRIES - 1)


def test_a_call_that_was_one_too_many_just_now_is_placed_a_moment_later_and_once(
    api: TwilioApi, rest: TwilioRest, pauses: list[float]
) -> None:
    api.faults = [429] * (TRIES - 1)
    assert rest.place_call(CALL) == "CA7"
    assert (len(api.seen), len(pauses)) == (TRIES, TRIES - 1)
    api.faults = [429] * TRIES
    with pytest.raises(UnreachableError, match="the call to …4567: Twilio answered 429"):
        rest.place_call(CALL)
    assert len(api.seen) == 2 * TRIES


def test_a_call_whose_first_request_found_nobody_is_placed_by_the_next(api: TwilioApi, pauses: list[float]) -> None:
    settings = Settings(_env_file=None, TWILIO_ACCOUNT_SID=ACCOUNT, TWILIO_AUTH_TOKEN=TOKEN)  # type: ignore[call-arg, arg-type]  # as above
    asked = iter(["http://127.0.0.1:1", api.url])
    rest = TwilioRest(settings, sleep=pauses.append)

    def create(client: Client) -> Any:  # noqa: ANN401 - the package's resources are untyped
        client.api.base_url = next(asked)
        return client.messages.create(to=NUMBER, from_=NUMBER, body="once")

    rest.ask("the SMS", create, once=True)
    assert (len(api.seen), len(pauses)) == (1, 1)


def test_a_redirect_that_was_one_too_many_just_now_is_asked_for_again(
    api: TwilioApi, rest: TwilioRest, pauses: list[float]
) -> None:
    api.calls["CA1"], api.faults = {"status": "in-progress"}, [429]
    rest.redirect("CA1", "<Response/>")
    assert [form for _, _, form, _ in api.seen] == [{"Twiml": "<Response/>"}] * 2
    assert len(pauses) == 1


@pytest.mark.parametrize("fault", [500, 503])
def test_a_redirect_that_may_have_worked_is_not_repeated(
    api: TwilioApi, rest: TwilioRest, pauses: list[float], fault: int
) -> None:
    api.calls["CA1"], api.faults = {"status": "in-progress"}, [fault]
    with pytest.raises(UnknownOutcomeError):
        rest.redirect("CA1", "<Response/>")
    assert (len(api.seen), pauses) == (1, [])


def test_whom_somebody_waits_for_begins_no_try_too_late(api: TwilioApi, rest: TwilioRest, pauses: list[float]) -> None:
    api.faults = [429]
    with pytest.raises(UnreachableError):
        rest.ask("call CA1", lambda client: client.calls("CA1").fetch(), patience_s=0)
    assert (len(api.seen), pauses) == (1, [])


@pytest.mark.parametrize("fault", [429, 500, 503])
def test_twilio_s_passing_faults_are_tried_again(
    api: TwilioApi, rest: TwilioRest, pauses: list[float], fault: int
) -> None:
    api.calls["CA1"] = {"status": "in-progress"}
    api.faults = [fault] * (TRIES - 1)
    assert rest.hang_up("CA1") is HangUp.ENDED
    assert len(pauses) == TRIES - 1


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(api: TwilioApi, pauses: list[float]) -> None:
    rest = connect(api.url, pauses, timeout_s=3.0)
    api.calls["CA1"], api.faults = {"status": "in-progress"}, [0]
    assert rest.hang_up("CA1") is HangUp.ENDED
    assert len(pauses) == 1


def test_tries_are_bounded_and_the_error_names_call_and_remedy(
    api: TwilioApi, rest: TwilioRest, pauses: list[float]
) -> None:
    api.faults = [503] * 10
    with pytest.raises(UnreachableError, match=r"call CA1: Twilio answered 503.*try again later"):
        rest.hang_up("CA1")
    assert (len(api.seen), len(pauses)) == (TRIES, TRIES - 1)


def test_a_dead_address_is_unreachable(pauses: list[float]) -> None:
    with pytest.raises(UnreachableError, match="call CA1: Twilio did not answer"):
        connect("http://127.0.0.1:1", pauses).hang_up("CA1")


def test_wrong_credentials_are_not_tried_again_and_never_shown(
    api: TwilioApi, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(RefusedCredentialsError, match="TWILIO_AUTH_TOKEN") as caught:
        connect(api.url, pauses, account="AC" + "1" * 32).hang_up("CA1")
    assert (pauses, len(api.seen)) == ([], 1)
    assert TOKEN not in str(caught.value) + caplog.text


def test_another_refusal_is_raised_with_its_code(api: TwilioApi, rest: TwilioRest) -> None:
    api.faults = [400]
    with pytest.raises(RefusedRequestError, match=r"call CA1: Twilio answered 400, code 20400.*docs/api/errors/20400"):
        rest.hang_up("CA1")


def test_without_credentials_nothing_is_asked(api: TwilioApi, pauses: list[float]) -> None:
    rest = connect(api.url, pauses, token="")
    rest.warm_up()
    with pytest.raises(NoCredentialsError, match="set TWILIO_ACCOUNT_SID"):
        rest.hang_up("CA1")
    assert (rest.has_credentials, api.seen) == (False, [])


def test_warming_up_asks_nothing(api: TwilioApi, rest: TwilioRest) -> None:
    rest.warm_up()
    assert api.seen == []


@pytest.mark.parametrize(("duration", "expected"), [("42", 42), (None, None), ("", None)])
def test_a_status_is_fetched_with_its_duration(
    api: TwilioApi, rest: TwilioRest, duration: str | None, expected: int | None
) -> None:
    api.calls["CA1"] = {"status": "busy", "duration": duration}
    assert rest.fetch_status("CA1") == ("busy", expected)


def test_the_status_of_an_unknown_call_is_none(rest: TwilioRest) -> None:
    assert rest.fetch_status("CA404") is None


def test_a_number_is_found_exactly_or_not_at_all(rest: TwilioRest) -> None:
    found = rest.find_number(NUMBER)
    assert found is not None
    assert (found.sid, found.number, found.voice_url) == (NUMBER_SID, NUMBER, "")
    assert rest.find_number("+972300000000") is None


def test_a_number_is_connected_by_post_on_every_url(api: TwilioApi, rest: TwilioRest) -> None:
    now = rest.connect_number(NUMBER_SID, "https://k/voice", "https://k/status", "https://k/fallback")
    assert (now.voice_url, now.status_callback, now.voice_fallback_url) == (
        "https://k/voice",
        "https://k/status",
        "https://k/fallback",
    )
    assert {api.number[f"{name}_method"] for name in ("voice", "status_callback", "voice_fallback")} == {"POST"}
    assert rest.numbers() == [now]


def test_the_account_comes_with_twilio_s_clock(api: TwilioApi, rest: TwilioRest) -> None:
    api.date = "Sun, 22 Nov 2026 12:00:00 GMT"
    account = rest.account()
    assert (account.sid, account.status, account.date) == (ACCOUNT, "active", datetime(2026, 11, 22, 12, tzinfo=UTC))


def test_the_process_s_twilio_region_does_not_move_the_requests(
    api: TwilioApi, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_REGION", "ie1")
    monkeypatch.setenv("TWILIO_EDGE", "dublin")
    assert connect(api.url, pauses).account().sid == ACCOUNT


@pytest.mark.parametrize("passing", [0, 429, 500, 503])
@pytest.mark.parametrize("lasting", [400, 401, 404, 422])
def test_only_what_may_pass_is_retried(passing: int, lasting: int) -> None:
    assert (is_retryable(passing), is_retryable(lasting)) == (True, False)


def test_a_listing_s_faults_are_retried_and_told_like_any_other(
    api: TwilioApi, rest: TwilioRest, pauses: list[float]
) -> None:
    api.faults = [503]
    assert rest.find_number(NUMBER) is not None
    assert len(pauses) == 1
    api.faults = [401]
    with pytest.raises(RefusedCredentialsError, match=r"answered 401, code 20401: on purpose"):
        rest.find_number(NUMBER)


def test_a_refusal_in_twilio_s_newer_form_is_told_too() -> None:
    newer = TwilioServiceException("about:blank", "Not in progress", 400, NOT_IN_PROGRESS, detail="it is over")
    assert refusal_of(newer) == Refusal(400, NOT_IN_PROGRESS, "Not in progress, it is over")


@pytest.mark.parametrize("text", ["<html>Bad gateway</html>", "[]", ""])
def test_a_page_that_is_not_twilio_s_is_survived(text: str) -> None:
    assert refusal_of(TwilioException("Unable to fetch page", Response(502, text))).status == 502


def test_pauses_grow_to_a_bound_and_are_spread() -> None:
    assert [pause_s(tries, 1) for tries in (1, 2, 9)] == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, LAST_RETRY_S]
    assert pause_s(1, 0) == FIRST_RETRY_S / 2


# Over TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def served(certificate: Path) -> Iterator[ToolServer]:
    """One that ends every call, each over a connection of its own."""
    with tool_server(certificate, status(200, b'{"sid": "CA1", "status": "completed"}')) as server:
        yield server


def test_whom_tls_trusts_is_read_once_at_boot_and_not_for_each_connection(
    served: ToolServer, certificate: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    read, load = list[object](), ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, *where: Any, **named: Any) -> None:  # noqa: ANN401 - the method's own
        read.append(where or named)
        load(context, *where, **named)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    rest = connect(f"https://localhost:{served.port}", pauses)
    rest.warm_up()
    at_boot = len(read)
    assert [rest.hang_up("CA1") for _ in range(5)] == [HangUp.ENDED] * 5
    assert (at_boot, len(read), len(served.asked)) == (1, 1, 5)


@pytest.mark.parametrize(("host", "trusted"), [("127.0.0.1", True), ("localhost", False)], ids=["name", "issuer"])
def test_nobody_is_told_anything_whose_certificate_is_another_s(
    served: ToolServer,
    certificate: Path,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    *,
    host: str,
    trusted: bool,
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with pytest.raises(UnreachableError, match="SSLError"):
        connect(f"https://{host}:{served.port}", pauses).hang_up("CA1")
    assert served.asked == []
