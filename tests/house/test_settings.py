"""Settings: safe defaults, clear refusals, and an `.env.example` that names every one of them."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from kav.settings import Settings, read_secrets

ROOT = Path(__file__).parents[2]


def settings(**values: object) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg, arg-type]  # pydantic-settings' own argument


def test_env_example_names_every_setting_with_its_default() -> None:
    named = dict(re.findall(r"^#([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(named) == set(Settings.model_fields)
    for name, value in named.items():
        assert getattr(settings(**{name: value} if value else {}), name) == getattr(settings(), name)


def test_binds_to_the_world_only_with_a_token_to_check_signatures_with() -> None:
    assert settings().bind_host == "127.0.0.1"
    assert settings(TWILIO_AUTH_TOKEN="t").bind_host == "0.0.0.0"
    assert settings(TWILIO_AUTH_TOKEN="t", HOST="127.0.0.1").bind_host == "127.0.0.1"


@pytest.mark.parametrize(
    "refused",
    [
        {"TWILIO_AUTH_TOKEN": "t"},
        {"DYNO": "web.1"},
        {"HOST": "0.0.0.0"},
        {"PUBLIC_BASE_URL": "https://kav.example.com"},
    ],
)
def test_rehearsal_is_refused_where_strangers_could_reach_it(refused: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="KAV_REHEARSAL is for one laptop"):
        settings(KAV_REHEARSAL=True, **refused)


def test_says_in_one_sentence_what_is_missing() -> None:
    assert settings().missing().startswith("OPENAI_API_KEY is not set")
    assert settings(OPENAI_API_KEY="k", TWILIO_AUTH_TOKEN="t").missing().startswith("PUBLIC_BASE_URL is not set")
    assert settings(KAV_REHEARSAL=True).missing() == ""
    complete = settings(OPENAI_API_KEY="k", TWILIO_AUTH_TOKEN="t", PUBLIC_BASE_URL="https://kav.example.com/")
    assert complete.missing() == ""
    assert complete.media_url == "wss://kav.example.com/twilio/media"


@pytest.mark.parametrize("url", ["postgres://u:p@host/db", "postgresql://u:p@host/db"])
def test_herokus_database_url_is_understood(url: str) -> None:
    assert settings(DATABASE_URL=url).DATABASE_URL == "postgresql+psycopg://u:p@host/db"


@pytest.mark.parametrize(
    "absurd", [{"MAX_CALL_S": 3600}, {"MAX_CALL_S": 0}, {"PORT": 70000}, {"MAX_CALLS": 0}, {"VAD_THRESHOLD": 2}]
)
def test_absurd_values_are_refused_by_name(absurd: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(absurd))):
        settings(**absurd)


@pytest.mark.parametrize("dyno", ["web.2", "web.10"])
def test_a_second_dyno_needs_redis_and_says_so(dyno: str) -> None:
    with pytest.raises(ValidationError, match="more than one process needs REDIS_URL"):
        settings(DYNO=dyno)
    assert dyno == settings(DYNO=dyno, REDIS_URL="rediss://:hush@redis.example.com:6379").DYNO


@pytest.mark.parametrize("dyno", ["", "web.1", "run.4711", "release.12", "worker.2"])
def test_one_dyno_alone_needs_none_whatever_the_buildpack_says(dyno: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    assert dyno == settings(DYNO=dyno).DYNO


@pytest.mark.parametrize("url", ["http://redis.example.com", "redis://", "redis.example.com:6379"])
def test_what_is_no_redis_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="write redis://"):
        settings(REDIS_URL=url)


@pytest.mark.parametrize("number", ["03-1234567", "97231234567", "+972031234567", "+972 3 123 4567", "+972", "any"])
def test_a_number_that_nobody_can_dial_is_refused(number: str) -> None:
    with pytest.raises(ValidationError, match=r"KAV_DEFAULT_NUMBERS(.|\n)* is never dialled: write \+97231234567"):
        settings(KAV_DEFAULT_NUMBERS=f"+97231234567,{number}")


def test_numbers_as_twilio_dials_them_are_answered() -> None:
    assert settings(KAV_DEFAULT_NUMBERS=" +97231234567, +14155550100,").KAV_DEFAULT_NUMBERS == (
        "+97231234567",
        "+14155550100",
    )
    assert settings(KAV_DEFAULT_NUMBERS="*").KAV_DEFAULT_NUMBERS == ("*",)


@pytest.mark.parametrize(
    "address",
    [
        "kav.example.com",
        "https://",
        "https://kav.example.com/kav",
        "https://kav.example.com?a=b",
        "https://kav.example.com#a",
        "https://user:hush@kav.example.com",
        "https://kav.example.com:port",
        "https://kav example.com",
        "HTTPS://kav.example.com",
        "wss://kav.example.com",
        "http://kav.example.com",
        "http://127.0.0.1.example.com",
    ],
)
def test_a_public_address_that_no_call_could_come_to_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match=r"PUBLIC_BASE_URL(.|\n)*write scheme and host alone, like https://"):
        settings(PUBLIC_BASE_URL=address)


@pytest.mark.parametrize(
    "address",
    [
        "https://kav.example.com",
        "https://kav.example.com:8443",
        "https://[2001:db8::1]",
        "http://127.0.0.1:8080",
        "http://localhost:5000",
        "http://[::1]:8080",
    ],
)
def test_a_public_address_is_taken_with_or_without_its_slash(address: str) -> None:
    assert address == settings(PUBLIC_BASE_URL=address).PUBLIC_BASE_URL
    assert address == settings(PUBLIC_BASE_URL=f"{address}/").PUBLIC_BASE_URL


@pytest.mark.parametrize("level", ["verbose", "", "10", "NOTSET"])
def test_a_level_that_no_log_has_is_refused_with_those_there_are(level: str) -> None:
    with pytest.raises(ValidationError, match="write DEBUG, INFO, WARNING or ERROR"):
        settings(LOG_LEVEL=level)
    assert settings(LOG_LEVEL="debug").LOG_LEVEL == "debug"


@pytest.mark.parametrize(
    "wrong",
    [
        {"SMTP_URL": "smtps://u:hunter2/secret@mail.example:465"},
        {"KAV_CONSOLE_PASSWORD": "hunter2"},
        {"TWILIO_SHARED_KEY": "hunter2"},
    ],
)
def test_what_is_refused_does_not_show_either(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**wrong)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)


def test_secrets_do_not_show() -> None:
    assert "hush" not in repr(settings(OPENAI_API_KEY="hush", TWILIO_AUTH_TOKEN="hush", KAV_API_TOKEN="hush"))


@pytest.mark.parametrize(
    "elsewhere",
    ["http://10.0.0.5:80", "https://127.0.0.1:8443", "http://127.0.0.1", "127.0.0.1:80", "http://x@evil.example:80"],
)
def test_the_stand_in_for_tools_is_on_this_machine_or_refused(elsewhere: str) -> None:
    with pytest.raises(ValidationError, match="it is for a rehearsal"):
        settings(KAV_TOOLS_URL=elsewhere)
    assert settings(KAV_TOOLS_URL="http://127.0.0.1:8091").KAV_TOOLS_URL == "http://127.0.0.1:8091"


def test_the_secrets_of_tools_come_from_the_environment_or_env_file_and_do_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("FIRST_TOKEN=from-the-file\nSECOND_TOKEN=old\nEMPTY_TOKEN=\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECOND_TOKEN", " hush\n")
    held = read_secrets(["FIRST_TOKEN", "SECOND_TOKEN", "EMPTY_TOKEN", "NOWHERE"])
    assert {name: secret.get_secret_value() for name, secret in held.items()} == {
        "FIRST_TOKEN": "from-the-file",
        "SECOND_TOKEN": "hush",
    }
    assert "hush" not in repr(held)


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        ({"KAV_WEBHOOK_URL": "http://hooks.example.com/", "KAV_WEBHOOK_SECRET": "s"}, "write an https:// address"),
        ({"KAV_WEBHOOK_URL": "https:///nowhere", "KAV_WEBHOOK_SECRET": "s"}, "write an https:// address"),
        ({"KAV_WEBHOOK_URL": "https://hooks.example.com/"}, "needs KAV_WEBHOOK_SECRET"),
        ({"SMTP_URL": "smtp.example.com"}, "write smtps://user:password@smtp.example.com:465"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT"),
    ],
)
def test_calls_words_leave_only_signed_and_encrypted(refused: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        settings(**refused)


def test_a_webhook_on_this_machine_needs_no_tls() -> None:
    assert settings(KAV_WEBHOOK_URL="http://127.0.0.1:9000/", KAV_WEBHOOK_SECRET="s").KAV_WEBHOOK_URL


@pytest.mark.parametrize(
    ("given", "as_json"),
    [
        ({}, False),
        ({"DYNO": "web.1"}, True),
        ({"LOG_FORMAT": "json"}, True),
        ({"LOG_FORMAT": "text", "DYNO": "x"}, False),
    ],
)
def test_lines_are_json_on_heroku_and_wherever_it_is_asked_for(given: dict[str, str], as_json: bool) -> None:
    assert settings(**given).logs_json is as_json


def test_the_log_is_told_every_secret_to_leave_out() -> None:
    secrets = settings(
        OPENAI_API_KEY="a", SMTP_URL="smtps://u:b@h", KAV_WEBHOOK_SECRET="c", KAV_METRICS_TOKEN="d"
    ).secrets
    assert set(secrets) == {"a", "smtps://u:b@h", "b", "c", "d"}


@pytest.mark.parametrize(
    ("given", "drain_s"),
    [
        ({}, 20),
        ({"DRAIN_SECONDS": 60}, 60),
        ({"DRAIN_SECONDS": 60, "DYNO": "web.1"}, 20),
        ({"DRAIN_SECONDS": 5, "DYNO": "web.1"}, 5),
    ],
)
def test_heroku_s_drain_is_no_longer_than_heroku_waits(given: dict[str, object], drain_s: float) -> None:
    assert Settings(_env_file=None, **given).drain_s == drain_s  # type: ignore[call-arg, arg-type]  # as above


def test_a_drain_of_less_than_no_time_is_refused() -> None:
    with pytest.raises(ValidationError, match="DRAIN_SECONDS"):
        Settings(_env_file=None, DRAIN_SECONDS=-1)  # type: ignore[call-arg]  # as above
