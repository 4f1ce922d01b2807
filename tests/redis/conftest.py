"""Without a Redis server its tests are left out; `test_on_a_real_server.py` says so, in one line."""

from collections.abc import AsyncIterator, Iterator

import pytest

from rehearsal.servers.redis import RedisServer, binary
from tests.redis.town import Town


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if binary() is not None:
        return
    left_out = [item for item in items if {"redis_server", "town"} & set(getattr(item, "fixturenames", ()))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
async def town() -> AsyncIterator[Town]:
    """Two Kavs behind one address."""
    async with Town() as town:
        yield town
        assert town.world.model.violations == [], "Kav broke the model's rules"
        assert [notice for call in town.world.twilio.calls for notice in call.violations] == [], "and Twilio's"
