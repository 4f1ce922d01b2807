"""Guards `flask --app app erase` where calls were recorded: the sound goes first, or nothing goes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from kav import commands
from kav.records import Records
from kav.settings import Settings
from kav.wire.twilio_recordings import forget_recording
from kav.wire.twilio_rest import TwilioRest
from tests.local_servers import ACCOUNT, TOKEN, TwilioApi, twilio_api

THEIRS, OTHERS = "+972501234567", "+972507654321"
RECORDINGS = {"CA1": "RE" + "1" * 32, "CA2": "RE" + "2" * 32}
SOON_S = 10


@pytest.fixture
def api() -> Iterator[TwilioApi]:
    with twilio_api() as api:
        yield api


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'kav.db'}"
    records = Records(url)
    records.start()
    for (call_sid, recording), number in zip(RECORDINGS.items(), (THEIRS, OTHERS), strict=True):
        records.save_call(call_sid, from_number=number)
        records.save_recording(call_sid, recording, status="completed").wait(SOON_S)
    records.stop(SOON_S)
    return url


def settings_of(database_url: str, api: TwilioApi, account: str = ACCOUNT) -> Settings:
    return Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own
        DATABASE_URL=database_url,
        TWILIO_ACCOUNT_SID=account,
        TWILIO_AUTH_TOKEN=TOKEN,  # type: ignore[arg-type]  # a str for a secret
        TWILIO_API_BASE_URL=api.url,
    )


def erase(database_url: str, api: TwilioApi, account: str = ACCOUNT) -> Result:
    app = Flask("kav-erase")
    app.config["KAV_SETTINGS"] = settings_of(database_url, api, account)
    commands.init_app(app)
    result: Result = app.test_cli_runner().invoke(args=["erase", THEIRS])
    return result


def test_the_person_s_recordings_are_deleted_at_twilio_and_nobody_else_s(database_url: str, api: TwilioApi) -> None:
    result = erase(database_url, api)
    assert result.exit_code == 0, result.output
    assert "1 recordings are deleted at Twilio." in result.output
    deleted = [(method, path.rpartition("/")[2]) for method, path, _, _ in api.seen]
    assert deleted == [("DELETE", f"{RECORDINGS['CA1']}.json")]


def test_one_that_twilio_does_not_delete_is_named_in_the_log(api: TwilioApi, caplog: pytest.LogCaptureFixture) -> None:
    rest = TwilioRest(settings_of("", api))
    assert forget_recording(rest, RECORDINGS["CA1"])
    assert caplog.text == ""
    api.faults = [401]
    assert not forget_recording(rest, RECORDINGS["CA2"])
    assert f"recording {RECORDINGS['CA2']} is still at Twilio" in caplog.text


def test_one_that_is_gone_already_is_no_hindrance(database_url: str, api: TwilioApi) -> None:
    api.faults = [404]
    assert erase(database_url, api).exit_code == 0


@pytest.mark.parametrize("account", [ACCOUNT, ""])
def test_while_twilio_keeps_the_sound_nothing_is_forgotten(database_url: str, api: TwilioApi, account: str) -> None:
    api.faults = [401]
    result = erase(database_url, api, account)
    assert (result.exit_code, "nothing is erased yet" in result.output) == (1, True), result.output
    api.faults.clear()
    assert "1 recordings are deleted at Twilio." in erase(database_url, api).output


def test_a_recording_that_comes_after_its_person_was_erased_is_deleted_at_twilio(
    database_url: str, api: TwilioApi, caplog: pytest.LogCaptureFixture
) -> None:
    assert erase(database_url, api).exit_code == 0
    rest, late = TwilioRest(settings_of(database_url, api)), "RE" + "3" * 32
    records = Records(database_url, forget_recording=lambda recording: forget_recording(rest, recording))
    records.start()
    assert records.save_recording("CA1", late, status="completed", duration_s=9).wait(SOON_S)
    assert f"recording {late} came when its call was erased" in caplog.text
    api.seen.clear()
    assert records.forget_recordings()
    assert ("DELETE", f"{late}.json") in [(method, path.rpartition("/")[2]) for method, path, _, _ in api.seen]
    records.stop(1)
