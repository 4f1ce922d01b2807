"""Both databases, for real: a fresh SQLite file or a fresh PostgreSQL database for each test."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from kav.records import Records, migration
from kav.records.database import build_engine, parse_url
from rehearsal.servers.postgres import Postgres, binaries


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a server its tests are left out; `test_on_a_real_server.py` says so, in one line."""
    if binaries() is not None:
        return
    left_out = [item for item in items if _needs_a_server(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _needs_a_server(item: pytest.Item) -> bool:
    fixtures, call = getattr(item, "fixturenames", ()), getattr(item, "callspec", None)
    return "postgres" in fixtures or (call is not None and call.params.get("database_url") == "postgres")


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    # Not pytest's own: its parents are closed to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="kav-pg-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(postgres_folder: Path) -> Iterator[Postgres]:
    found = binaries()
    assert found is not None, "its tests are left out when there is none"
    server = Postgres(postgres_folder, found)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    name = f"kav_{uuid4().hex}"
    admin = create_engine(postgres.url(), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return postgres.url(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'kav.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def engine_of() -> Iterator[Callable[[str], Engine]]:
    """Makes the writer's own kind of engine, on a migrated database."""
    made: list[Engine] = []

    def make(database_url: str) -> Engine:
        engine = build_engine(parse_url(database_url), "write")
        made.append(engine)
        with engine.begin() as connection:
            migration.upgrade(connection)
        return engine

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
def engine(database_url: str, engine_of: Callable[[str], Engine]) -> Engine:
    return engine_of(database_url)


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        yield connection


@pytest.fixture
def start_records() -> Iterator[Callable[..., Records]]:
    """Starts Records that are stopped when the test is over."""
    started: list[Records] = []

    def start(database_url: str, **options: int) -> Records:
        records = Records(database_url, **options)  # type: ignore[arg-type]  # only capacity is passed here
        started.append(records)
        records.start()
        return records

    yield start
    for records in started:
        records.stop(timeout_s=1)
