"""Guards a Kav without Twilio's token: it serves this machine's programs, and nobody who is led here."""

from collections.abc import AsyncIterator, Mapping

import pytest

from rehearsal.websocket import Refused, connect
from rehearsal.world import World
from tests.line.asking import about, ask

HERE: list[Mapping[str, str]] = [{}, {"Host": "localhost:1"}, {"Sec-Fetch-Site": "none"}]
STRANGERS: list[Mapping[str, str]] = [
    {"Host": "kav.example.com"},  # a name that was made to lead here (DNS rebinding)
    {"Host": "127.0.0.1.evil.example"},
    {"X-Forwarded-For": "127.0.0.1"},  # a tunnel or a proxy
    {"X-Forwarded-Host": "localhost"},
    {"Forwarded": "for=127.0.0.1"},
    {"Origin": "https://evil.example"},  # a page that somebody has open
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    """As on a newcomer's laptop."""
    async with World({"DRAIN_SECONDS": "0"}, signed=False) as world:
        yield world


@pytest.mark.parametrize("headers", HERE, ids=str)
async def test_this_machine_is_served(world: World, headers: Mapping[str, str]) -> None:
    assert (await ask(world, "/twilio/status", about("CA" + "1" * 32, "in-progress"), headers=headers)).status == 204


@pytest.mark.parametrize("headers", STRANGERS, ids=str)
async def test_nobody_else_is_whatever_way_they_come(world: World, headers: Mapping[str, str]) -> None:
    before = await world.kav.health()
    form = about("CA" + "2" * 32, "ringing", From="+972501112233", To="+97231110002")
    assert (await ask(world, "/twilio/voice", form, headers=headers)).status == 403
    with pytest.raises(Refused) as refused:
        await connect(world.kav.url.replace("http", "ws", 1) + "/twilio/media", headers)
    assert refused.value.status == 403
    assert (await world.kav.health())["entries"] == before["entries"]
