"""Guards the command line: a number is connected with one command, and the doctor names each fault with its remedy."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from kav import commands
from kav.doctor import Finding, base_url_fault, clock_finding, number_finding
from kav.records import migration
from kav.settings import Settings
from kav.wire.twilio_rest import Number
from tests.local_servers import ACCOUNT, NUMBER, TOKEN, TwilioApi, public_kav, realtime_model, twilio_api

KEY, MODEL = "sk-secret", "gpt-realtime-2.1"
PUBLIC = "https://kav.example.com"
Run = Callable[..., Result]


@pytest.fixture
def api() -> Iterator[TwilioApi]:
    with twilio_api() as api:
        yield api


@pytest.fixture
def run(api: TwilioApi, tmp_path: Path) -> Run:
    """Run one command with settings that are complete but for the given changes."""

    def run(*arguments: str, **changes: Any) -> Result:  # noqa: ANN401 - settings of any type
        values = {
            "PUBLIC_BASE_URL": PUBLIC,
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_API_BASE_URL": api.url,
            "DATABASE_URL": f"sqlite:///{tmp_path / 'kav.db'}",
            "KAV_DEFAULT_NUMBERS": NUMBER,
        } | changes
        app = Flask("kav-commands")
        app.config["KAV_SETTINGS"] = Settings(_env_file=None, **values)  # type: ignore[call-arg]  # pydantic-settings' own
        commands.init_app(app)
        result: Result = app.test_cli_runner().invoke(args=arguments)
        assert TOKEN not in result.output
        assert KEY not in result.output
        return result

    return run


def test_a_number_is_connected_and_what_was_set_is_printed(api: TwilioApi, run: Run) -> None:
    result = run("connect-number", "+972 3-123-4567")
    assert result.exit_code == 0, result.output
    for url in ("/twilio/voice", "/twilio/status", "/twilio/voice-fallback"):
        assert f"POST {PUBLIC}{url}\n" in result.output
    assert api.number["voice_url"] == f"{PUBLIC}/twilio/voice"
    assert "note:" not in result.output


def test_another_base_url_is_used_and_noted(api: TwilioApi, run: Run) -> None:
    result = run("connect-number", NUMBER, "--base-url", "https://other.example.com/", KAV_DEFAULT_NUMBERS="")
    assert api.number["status_callback"] == "https://other.example.com/twilio/status"
    assert "PUBLIC_BASE_URL=https://other.example.com" in result.output
    assert "until a flow file or KAV_DEFAULT_NUMBERS names it" in result.output


@pytest.mark.parametrize(
    ("number", "changes", "said"),
    [
        ("+972300000000", {}, f"is not a number of account {ACCOUNT}"),
        ("03-1234567", {}, "write it like +972312345678"),
        (NUMBER, {"TWILIO_AUTH_TOKEN": ""}, "set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"),
        (NUMBER, {"PUBLIC_BASE_URL": ""}, "set PUBLIC_BASE_URL or give --base-url"),
        (NUMBER, {"PUBLIC_BASE_URL": "http://127.0.0.1:8080"}, "use an https:// address"),
        (NUMBER, {"TWILIO_ACCOUNT_SID": "AC" + "1" * 32}, "check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"),
    ],
)
def test_what_hinders_a_connection_is_said_with_its_remedy(
    api: TwilioApi, run: Run, number: str, changes: dict[str, Any], said: str
) -> None:
    result = run("connect-number", number, **changes)
    assert result.exit_code == 1
    assert said in result.output
    assert "voice_url" not in api.number


def test_an_address_given_on_the_line_is_a_host_alone(api: TwilioApi, run: Run) -> None:
    result = run("connect-number", NUMBER, "--base-url", "https://kav.example.com/kav")
    assert (result.exit_code, "leave only scheme and host" in result.output) == (1, True)
    assert "voice_url" not in api.number


def test_migrating_makes_the_schema_and_says_where_it_is(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        result = run("migrate")
        assert (result.exit_code, result.output) == (0, f"The database is at revision {migration.head()}.\n")
    assert (tmp_path / "kav.db").exists()


def test_migrating_a_database_that_cannot_be_is_one_sentence(run: Run) -> None:
    result = run("migrate", DATABASE_URL="sqlite:////nowhere/kav.db")
    assert result.exit_code == 1
    assert "the folder /nowhere does not exist" in result.output


@pytest.fixture
def whole(api: TwilioApi) -> Iterator[dict[str, Any]]:
    """Settings with every server there; all is well but for the address, which is this machine's own."""
    with ExitStack() as servers:
        base = servers.enter_context(public_kav())
        model = servers.enter_context(realtime_model(KEY, {"type": "session.created"}))
        for name, path in (
            ("voice_url", "voice"),
            ("status_callback", "status"),
            ("voice_fallback_url", "voice-fallback"),
        ):
            api.number |= {name: f"{base}/twilio/{path}", f"{name.removesuffix('_url')}_method": "POST"}
        yield {"PUBLIC_BASE_URL": base, "OPENAI_API_KEY": KEY, "OPENAI_REALTIME_URL": model}


def faults(result: Result) -> list[str]:
    return [line for line in result.output.splitlines() if line.startswith("!!")]


def test_the_doctor_finds_nothing_wrong_but_what_is_wrong(run: Run, whole: dict[str, Any]) -> None:
    run("migrate", **whole)
    result = run("doctor", **whole)
    (fault,) = faults(result)
    assert "use an https:// address" in fault
    assert result.exit_code == 1
    for good in (
        "/healthz answers 200",
        "a signed request is answered 204",
        "a forged request is answered 403",
        f"Twilio's account {ACCOUNT} is active",
        "the clock is ",
        f"{NUMBER} rings at Kav",
        f"OpenAI opens a session with {MODEL}",
        f"the database is at revision {migration.head()}",
    ):
        assert any(line.startswith("ok  ") and good in line for line in result.output.splitlines()), result.output


def test_the_doctor_with_nothing_set_says_what_is_missing(run: Run, api: TwilioApi) -> None:
    nothing = dict.fromkeys(("PUBLIC_BASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "KAV_DEFAULT_NUMBERS"), "")
    result = run("doctor", **nothing)
    assert result.exit_code == 1
    assert len([line for line in faults(result) if " is not set: " in line]) == 4
    assert api.seen == []


def test_the_doctor_notices_a_kav_with_another_token(run: Run, whole: dict[str, Any]) -> None:
    with public_kav(token="another") as base:
        result = run("doctor", **(whole | {"PUBLIC_BASE_URL": base}))
    assert any("another TWILIO_AUTH_TOKEN" in line for line in faults(result))


def test_the_doctor_notices_a_kav_that_checks_nothing(run: Run, whole: dict[str, Any]) -> None:
    with public_kav(checks=False) as base:
        result = run("doctor", **(whole | {"PUBLIC_BASE_URL": base}))
    assert any("checks no signatures" in line for line in faults(result))


def test_the_doctor_notices_an_address_where_nobody_is(run: Run, whole: dict[str, Any]) -> None:
    result = run("doctor", **(whole | {"PUBLIC_BASE_URL": "https://127.0.0.1:1"}))
    assert any("/healthz does not answer" in line for line in faults(result))


def test_the_doctor_notices_a_half_connected_number(run: Run, whole: dict[str, Any], api: TwilioApi) -> None:
    api.number["status_callback"] = "https://elsewhere.example.com"
    result = run("doctor", **whole)
    assert any("status callback not Kav's" in line and f"connect-number {NUMBER}" in line for line in faults(result))


def test_the_doctor_notices_a_number_that_rings_elsewhere(run: Run, whole: dict[str, Any], api: TwilioApi) -> None:
    api.number["voice_url"] = "https://elsewhere.example.com"
    result = run("doctor", **whole)
    assert any(f"{NUMBER} does not ring at Kav" in line for line in faults(result))


def test_the_doctor_notices_wrong_twilio_credentials(run: Run, whole: dict[str, Any]) -> None:
    result = run("doctor", **whole, TWILIO_ACCOUNT_SID="AC" + "1" * 32)
    assert any("Twilio's account cannot be read" in line for line in faults(result))


def test_the_doctor_notices_a_key_that_openai_refuses(run: Run, whole: dict[str, Any]) -> None:
    result = run("doctor", **(whole | {"OPENAI_API_KEY": "sk-other"}))
    assert any("HTTP 401" in line and "check OPENAI_API_KEY" in line for line in faults(result))


def test_the_doctor_repeats_what_openai_says_of_a_model(run: Run, whole: dict[str, Any]) -> None:
    refusal = {"type": "error", "error": {"code": "model_not_found", "message": "no such model"}}
    with realtime_model(KEY, refusal) as url:
        result = run("doctor", **(whole | {"OPENAI_REALTIME_URL": url}))
    assert any("model_not_found" in line and "no such model" in line for line in faults(result))


def test_the_doctor_notices_a_model_that_is_not_there(run: Run, whole: dict[str, Any]) -> None:
    result = run("doctor", **(whole | {"OPENAI_REALTIME_URL": "ws://127.0.0.1:1/v1/realtime"}))
    assert any("OpenAI does not answer" in line for line in faults(result))


def test_the_doctor_notices_a_clock_that_is_wrong(run: Run, whole: dict[str, Any], api: TwilioApi) -> None:
    api.date = format_datetime(datetime.now(UTC) - timedelta(minutes=5), usegmt=True)
    result = run("doctor", **whole)
    assert any("ahead of Twilio's: set the clock" in line for line in faults(result))


def test_the_doctor_notices_a_database_that_is_not_migrated_or_not_there(run: Run, whole: dict[str, Any]) -> None:
    assert any("at revision None" in line and "migrate" in line for line in faults(run("doctor", **whole)))
    gone = "postgresql://kav:hidden-password@127.0.0.1:1/kav"
    result = run("doctor", **whole, DATABASE_URL=gone)
    assert any("the database cannot be used" in line for line in faults(result))
    assert "hidden-password" not in result.output


def test_the_doctor_notices_a_disk_that_is_wiped(run: Run, whole: dict[str, Any]) -> None:
    assert any("heroku addons:create" in line for line in faults(run("doctor", **whole, DYNO="web.1")))


@pytest.mark.parametrize(("ahead_s", "ok"), [(0, True), (60, True), (-60, True), (61, False), (-61, False)])
def test_a_clock_may_be_a_minute_off(ahead_s: float, ok: bool) -> None:
    assert clock_finding(ahead_s).ok is ok


@pytest.mark.parametrize("wrong", ["voice_method", "status_callback", "voice_fallback_url"])
def test_each_url_and_method_of_a_number_counts(wrong: str) -> None:
    urls = {
        "voice_url": "/twilio/voice",
        "status_callback": "/twilio/status",
        "voice_fallback_url": "/twilio/voice-fallback",
    }
    methods = dict.fromkeys(("voice_method", "status_callback_method", "voice_fallback_method"), "POST")
    right = {name: PUBLIC + path for name, path in urls.items()} | methods
    assert number_finding(Number("PN1", NUMBER, **right), PUBLIC).ok
    assert not number_finding(Number("PN1", NUMBER, **(right | {wrong: "GET"})), PUBLIC).ok


def test_a_public_address_is_https_and_nothing_but_a_host() -> None:
    assert base_url_fault(PUBLIC) == ""
    for wrong in ("http://kav.example.com", "kav.example.com", "https://", "https://h/path", "https://h?q=1"):
        assert base_url_fault(wrong)


def test_a_finding_reads_as_one_line() -> None:
    assert (str(Finding("all is well")), str(Finding("it is not", "do this"))) == (
        "ok  all is well",
        "!!  it is not: do this",
    )
