"""Numbers that are not to be called.

Revision: 0002, after 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the list; it refers to no call, for it outlives them."""
    op.create_table(
        "do_not_call",
        sa.Column("number", sa.String(16), primary_key=True),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("call_sid", sa.String(64)),
    )


def downgrade() -> None:
    """Drop the list."""
    op.drop_table("do_not_call")
