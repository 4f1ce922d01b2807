"""Guards against a suite that is green because half of it was left out: no PostgreSQL, and this one says so."""

import os

import pytest

from rehearsal.servers.postgres import binaries


def test_the_records_are_tested_on_a_real_postgresql_server() -> None:
    missing = "no PostgreSQL server here, so its half of the records' tests is left out: apt-get install postgresql"
    if binaries() is None and os.environ.get("KAV_REQUIRE_ALL") != "1":
        pytest.skip(missing)
    assert binaries() is not None, missing
