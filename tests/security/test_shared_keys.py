"""Guards signatures made with a SharedKey: its own are let in, and nobody else's, whatever key a request names."""

import time
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import ValidationError

from kav.settings import Settings
from rehearsal.twilio.signing import SETTINGS_HEADER, SIGNATURE_HEADER, SharedKey, signature, signed_headers
from rehearsal.websocket import Refused, connect
from rehearsal.world import AUTH_TOKEN, World
from tests.console.browser import until
from tests.line.asking import about, ask
from tests.line.ending import fin, record, talking

KEY = SharedKey("webhooks_sharedkey_1", "the-secret-of-the-shared-key")
STATUS = "/twilio/status"


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """A Kav whose account has opted in to a SharedKey."""
    async with World({"TWILIO_SHARED_KEY_ID": KEY.id, "TWILIO_SHARED_KEY": KEY.secret, "DRAIN_SECONDS": "0"}) as world:
        yield world
        assert "Traceback" not in world.kav.log(1_000_000)


@pytest.fixture
def opted_in(world: World) -> Iterator[World]:
    """All that Twilio asks is signed with the key."""
    world.twilio.exchange.webhooks.shared_key = KEY
    yield world
    world.twilio.exchange.webhooks.shared_key = None


async def test_a_call_that_is_signed_with_the_shared_key_is_carried_from_the_webhook_to_the_status(
    opted_in: World,
) -> None:
    talk = await talking(opted_in)
    assert talk.call.socket.request is not None
    assert KEY.id in talk.call.socket.request.headers[SETTINGS_HEADER]
    since = time.monotonic()
    await talk.call.hang_up()
    await fin(talk.session.peer, since)
    found = await record(opted_in, talk.call.sid, lambda found: bool(found.call.get("status")))
    assert found.call["status"] == "completed"


async def test_the_auth_token_is_taken_as_well_while_an_account_changes(world: World) -> None:
    assert (await ask(world, STATUS, about("CA" + "1" * 32, "in-progress"))).status == 204


FORM = about("CA" + "2" * 32, "completed")


@pytest.mark.parametrize(
    "key",
    [
        SharedKey("webhooks_sharedkey_2", KEY.secret),
        SharedKey("webhooks_sharedkey_2", AUTH_TOKEN),
        SharedKey(KEY.id, "another secret"),
        SharedKey(KEY.id, AUTH_TOKEN),
        SharedKey(KEY.id, KEY.secret, "HMAC_SHA1"),
        SharedKey(KEY.id, KEY.secret, "HMAC_MD5"),
        SharedKey(KEY.id, KEY.secret, ""),
        SharedKey("", KEY.secret),
    ],
)
async def test_another_key_another_secret_or_another_algorithm_is_refused(world: World, key: SharedKey) -> None:
    url = world.kav.url + STATUS
    signed = signed_headers(None, url, FORM, shared_key=key)
    assert (await ask(world, STATUS, FORM, headers=signed)).status == 403
    media = world.kav.url.replace("http", "ws", 1) + "/twilio/media"
    with pytest.raises(Refused) as refused:
        await connect(media, signed_headers(None, media, shared_key=key))
    assert refused.value.status == 403


async def test_a_weaker_signature_does_not_pass_for_the_keys(world: World) -> None:
    """Neither SHA-1 with the key's secret, nor the token's signature under the key's name."""
    url = world.kav.url + STATUS
    names_key = {SETTINGS_HEADER: f"key={KEY.id},algorithm=HMAC_SHA256"}
    for secret, digest in ((KEY.secret, "sha1"), (AUTH_TOKEN, "sha1"), (AUTH_TOKEN, "sha256")):
        forged = {SIGNATURE_HEADER: signature(secret, url, FORM, digest), **names_key}
        assert (await ask(world, STATUS, FORM, headers=forged)).status == 403
    for secret in (KEY.secret, ""):
        for digest in ("sha1", "sha256"):
            assert (
                await ask(world, STATUS, FORM, headers={SIGNATURE_HEADER: signature(secret, url, FORM, digest)})
            ).status == 403


async def test_the_log_names_the_key_that_is_not_known_and_what_to_set(world: World) -> None:
    stranger = SharedKey("webhooks_sharedkey_unheard_of", "x")
    await ask(world, STATUS, FORM, headers=signed_headers(None, world.kav.url + STATUS, FORM, shared_key=stranger))
    await until(lambda: stranger.id in world.kav.log(1_000_000), "the log names the key")  # a thread writes it
    line = next(line for line in world.kav.log(1_000_000).splitlines() if stranger.id in line)
    assert "TWILIO_SHARED_KEY_ID" in line
    assert KEY.secret not in world.kav.log(1_000_000)


def test_without_a_shared_key_of_its_own_kav_takes_none() -> None:
    """An empty secret signs nothing: a key's id and its secret are set together, or not at all."""
    for half in ({"TWILIO_SHARED_KEY_ID": KEY.id}, {"TWILIO_SHARED_KEY": KEY.secret}):
        with pytest.raises(ValidationError, match="go together"):
            Settings(_env_file=None, **half)  # type: ignore[call-arg, arg-type]  # pydantic-settings' own argument


async def test_an_installation_without_a_shared_key_refuses_whoever_signs_with_one() -> None:
    async with World({"DRAIN_SECONDS": "0"}) as plain:
        url = plain.kav.url + STATUS
        for key in (KEY, SharedKey(KEY.id, AUTH_TOKEN), SharedKey("x", "")):
            signed = signed_headers(None, url, FORM, shared_key=key)
            assert (await ask(plain, STATUS, FORM, headers=signed)).status == 403
