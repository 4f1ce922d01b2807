"""Without servers of one's own their tests are left out; `records/` and `redis/` say so, each in one line."""

import pytest

from rehearsal.servers import postgres, redis


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if postgres.binaries() is not None and redis.binary() is not None:
        return
    left_out = [item for item in items if "siege" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
