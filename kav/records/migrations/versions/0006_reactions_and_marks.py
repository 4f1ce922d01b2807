"""How soon the bot fell silent for a caller, and when what it said was heard.

Revision: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns."""
    op.add_column("streams", sa.Column("reaction_ms", sa.Double))
    op.add_column("turns", sa.Column("marks", sa.String(512)))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("turns") as turns:
        turns.drop_column("marks")
    with op.batch_alter_table("streams") as streams:
        streams.drop_column("reaction_ms")
