"""What comes after a call: what its summary's model took from it, and Twilio's recordings of it.

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column and a table."""
    op.add_column("calls", sa.Column("extracted", sa.String(10_000)))
    op.create_table(
        "recordings",
        sa.Column("call_sid", sa.String(64), sa.ForeignKey("calls.call_sid"), primary_key=True),
        sa.Column("recording_sid", sa.String(64), primary_key=True),
        sa.Column("status", sa.String(64)),
        sa.Column("channels", sa.Integer),
        sa.Column("duration_s", sa.Integer),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("recordings")
    with op.batch_alter_table("calls") as calls:
        calls.drop_column("extracted")
