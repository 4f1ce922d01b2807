"""Guards secrets: no log line, no answer, no record and no error of a Kav in trouble holds one."""

import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest

from kav import log
from kav.settings import Settings
from rehearsal.kav import API_TOKEN
from rehearsal.model import Faults
from rehearsal.tools import TOKEN as TOOL_TOKEN
from rehearsal.twilio.signing import SIGNATURE_HEADER
from rehearsal.world import AUTH_TOKEN, OPENAI_KEY, World
from tests.line.asking import about, ask
from tests.line.ending import talking

MORE = {
    "KAV_CONSOLE_PASSWORD": "open sesame, please",
    "KAV_SECRET_KEY": "the-key-of-the-cookies",
    "KAV_METRICS_TOKEN": "the-metrics-token",
    "TWILIO_SHARED_KEY_ID": "webhooks_sharedkey_1",
    "TWILIO_SHARED_KEY": "the-secret-of-the-shared-key",
    "SMTP_URL": "smtp://kav:the-mail-password@127.0.0.1:1",
    "KAV_WEBHOOK_URL": "http://127.0.0.1:1/told",
    "KAV_WEBHOOK_SECRET": "the-webhook-secret",
    "LOG_LEVEL": "DEBUG",
}
SECRETS = (
    *(AUTH_TOKEN, OPENAI_KEY, API_TOKEN, TOOL_TOKEN, "the-mail-password"),
    *(MORE[name] for name in MORE if name.endswith(("PASSWORD", "KEY", "TOKEN", "SECRET"))),
)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """A Kav with every secret there is, which logs all it can."""
    async with World({**MORE, "DRAIN_SECONDS": "0"}) as world:
        yield world


async def test_a_kav_in_trouble_keeps_its_secrets(world: World) -> None:
    """A call that ends well, one without a model, forged webhooks, wrong tokens, pages that are not there."""
    talk = await talking(world)
    await talk.call.hang_up()
    await talk.record()
    lost = await world.call(faults=[Faults(refuse_status=401)] * 4)
    await lost.until_reported()
    form = about("CA" + "1" * 32, "completed", From=AUTH_TOKEN)
    await ask(world, "/twilio/status", form, headers={SIGNATURE_HEADER: "x"})
    bodies = []
    async with aiohttp.ClientSession() as http:
        for method, path in (
            *(("GET", "/healthz"), ("GET", "/metrics"), ("GET", "/nowhere"), ("GET", "/console/"), ("POST", "/calls")),
            *(("GET", "/calls"), ("GET", "/twilio/media"), ("POST", "/twilio/voice"), ("GET", "/openapi.yaml")),
        ):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {API_TOKEN}"}):
                async with http.request(method, world.kav.url + path, headers=headers) as answer:
                    bodies.append(await answer.text())
    database = world.kav.database.read_bytes().decode("latin-1")
    for place in (*bodies, world.kav.log(10_000_000), database):
        assert [secret for secret in SECRETS if secret in place] == []


@pytest.mark.parametrize("place", ["database", "mail"])
def test_passwords_within_addresses_are_secrets_too(place: str) -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
        DATABASE_URL="postgres://kav:p%40ssw0rd-of-the-database@db.example.com/kav",
        SMTP_URL="smtps://kav:p%40ssw0rd-of-the-mail@mail.example.com",  # type: ignore[arg-type]  # read as a secret
    )
    handler = log.QueueHandler(settings.secrets)
    for written in (f"p%40ssw0rd-of-the-{place}", f"p@ssw0rd-of-the-{place}"):
        handler.handle(logging.makeLogRecord({"msg": f"cannot connect with {written}", "levelno": logging.ERROR}))
        assert "ssw0rd" not in handler.lines.get()


def test_a_password_that_should_have_been_encoded_is_a_secret_too() -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
        DATABASE_URL="postgres://kav:half/of-the-password@db.example.com/kav",
    )
    assert "half/of-the-password" in settings.secrets
