"""Guards the schema: made from nothing, made once, made by two processes at once, and equal to the models."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from kav.records import migration
from kav.records.database import build_engine, parse_url
from kav.records.models import Base


def upgrade(database_url: str, barrier: Barrier | None = None) -> str:
    engine = build_engine(parse_url(database_url), "write")
    if barrier is not None:
        barrier.wait(timeout=10)
    with engine.begin() as connection:
        notice = migration.upgrade(connection)
    engine.dispose()
    return notice


def test_an_empty_database_gets_every_table(database_url: str) -> None:
    upgrade(database_url)
    with build_engine(parse_url(database_url), "read").connect() as connection:
        assert migration.revision_of(connection) == migration.head()
        assert {"calls", "streams"} <= set(inspect(connection).get_table_names())


def test_upgrading_again_changes_nothing(database_url: str) -> None:
    assert (upgrade(database_url), upgrade(database_url)) == ("", "")


def test_the_migrations_make_what_the_models_say(database_url: str) -> None:
    upgrade(database_url)
    with build_engine(parse_url(database_url), "read").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_processes_that_boot_at_once_migrate_once(database_url: str) -> None:
    barrier = Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        notices = [pool.submit(upgrade, database_url, barrier) for _ in range(4)]
        assert [notice.result(timeout=30) for notice in notices] == [""] * 4


def test_a_database_from_a_newer_release_is_used_as_it_is(database_url: str) -> None:
    upgrade(database_url)
    engine = build_engine(parse_url(database_url), "write")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert "newer than this code" in upgrade(database_url)


def test_an_upgrade_that_fails_leaves_nothing_behind(database_url: str) -> None:
    engine = build_engine(parse_url(database_url), "write")
    connection = engine.connect()
    migration.upgrade(connection)
    connection.rollback()
    connection.close()
    with engine.begin() as connection:
        assert inspect(connection).get_table_names() == []
