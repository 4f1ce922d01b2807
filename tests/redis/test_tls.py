"""Over TLS, Redis must show a trusted certificate for its name; or REDIS_VERIFY_TLS=false must say otherwise."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from kav.settings import Settings
from kav.shared import Shared, open_shared
from realtime_prompt_builder import load_phrases
from rehearsal.servers.redis import RedisServer
from tests.wire.tool_server import make_certificate

REMEDY = "REDIS_VERIFY_TLS"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that is its own authority, as Heroku's is."""
    return make_certificate(tmp_path_factory.mktemp("redis-tls"))


@pytest.fixture(scope="module")
def redis_server(certificate: Path) -> Iterator[RedisServer]:
    server = RedisServer(certificate)
    server.start()
    yield server
    server.stop()


def shared(url: str, *, verifies: bool | None = None) -> Shared:
    """What a process shares that has found Redis, or has not."""
    given = {} if verifies is None else {"REDIS_VERIFY_TLS": verifies}
    opened = open_shared(Settings(_env_file=None, REDIS_URL=url, **given), load_phrases())  # type: ignore[call-arg, arg-type]  # as from the environment
    assert opened is not None
    link = opened.calls.link
    link.probe()
    link.close()
    return opened


def test_a_certificate_that_nobody_vouches_for_is_refused_and_the_log_says_what_to_do(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert shared(redis_server.url).away
    (said,) = (record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)
    assert "certificate" in said
    assert REMEDY in said


def test_it_is_taken_where_the_setting_says_so(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    assert not shared(redis_server.url, verifies=False).away
    assert caplog.records == []


def test_one_that_is_trusted_is_taken_for_its_own_name_alone(
    redis_server: RedisServer, certificate: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert not shared(redis_server.url).away
    assert shared(redis_server.url.replace("localhost", "127.0.0.1")).away
    assert REMEDY in caplog.text


def test_a_server_that_is_not_there_has_nothing_to_do_with_its_certificate(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert shared(redis_server.url.replace(str(redis_server.port), "1")).away
    assert REMEDY not in caplog.text
    assert "Check REDIS_URL" in caplog.text
