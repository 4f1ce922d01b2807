"""Brings the database to the schema that this code expects; safe to run from two processes at once.

A new revision, after changing `models.py`:

    flask --app app migrate --revision "what it adds"
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

MIGRATIONS = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x6B6176  # "kav": any number that no other program on the same database uses


def upgrade(connection: Connection) -> str:
    """Apply what is missing, inside the caller's transaction; returns a notice worth logging, mostly empty.

    On PostgreSQL a second process waits for the first at the advisory lock, on SQLite at BEGIN IMMEDIATE.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
    present = revision_of(connection)
    if present is not None and not _is_known(present):
        # A rollback to older code: migrations only ever add, so this code can write to the newer schema.
        return f"the database is at revision {present}, newer than this code ({head()}); using it as it is"
    command.upgrade(_config(connection), "head")
    return ""


def create_revision(connection: Connection, message: str) -> None:
    """Write a new file into `migrations/versions` from what `models.py` has and the database has not."""
    command.revision(_config(connection), message=message, autogenerate=True)


def revision_of(connection: Connection) -> str | None:
    """The revision that the database is at; None before the first migration."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str | None:
    """The revision that this code expects."""
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


def _is_known(revision: str) -> bool:
    return any(script.revision == revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions())


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config
