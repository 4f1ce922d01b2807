"""Which process carries a call, and until when it was surely alive.

Revision: 0005, after 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column and a table."""
    op.add_column("calls", sa.Column("process", sa.String(64)))
    op.create_index("ix_calls_process", "calls", ["process"])
    op.create_table(
        "processes",
        sa.Column("process", sa.String(64), primary_key=True),
        sa.Column("lease_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("processes")
    op.drop_index("ix_calls_process", "calls")
    with op.batch_alter_table("calls") as calls:
        calls.drop_column("process")
