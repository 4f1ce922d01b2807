"""What kind of line a call was on, whether its cost is the whole, and which recordings are still to be deleted.

Revision: 0007, after 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns and a table."""
    op.add_column("calls", sa.Column("cost_is_partial", sa.Boolean))
    op.add_column("calls", sa.Column("line", sa.String(64)))
    op.create_table(
        "unwanted_recordings",
        sa.Column("recording_sid", sa.String(64), primary_key=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_recordings_recording_sid", "recordings", ["recording_sid"])
    op.execute(
        "UPDATE calls SET cost_is_partial = TRUE, cost_micro_usd = "
        "(SELECT sum(usage.cost_micro_usd) FROM usage WHERE usage.call_sid = calls.call_sid) "
        "WHERE cost_micro_usd IS NULL AND call_sid IN (SELECT call_sid FROM usage)"
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_recordings_recording_sid", "recordings")
    op.drop_table("unwanted_recordings")
    with op.batch_alter_table("calls") as calls:
        calls.drop_column("line")
        calls.drop_column("cost_is_partial")
