"""How Alembic reaches the database: over the connection it is handed, inside that connection's transaction."""

from alembic import context

from kav.records.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # SQLite's too: kav.records.database opens real transactions on it
    render_as_batch=True,  # SQLite cannot alter columns in place
)
with context.begin_transaction():
    context.run_migrations()
