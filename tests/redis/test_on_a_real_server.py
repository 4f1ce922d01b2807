"""Guards against a suite that is green because half of it was left out: no Redis, and this one says so."""

import os

import pytest

from rehearsal.servers.redis import binary


def test_several_processes_are_tested_with_a_real_redis_server() -> None:
    missing = "no redis-server here, so the tests of several processes are left out: apt-get install redis-server"
    if binary() is None and os.environ.get("KAV_REQUIRE_ALL") != "1":
        pytest.skip(missing)
    assert binary() is not None, missing
