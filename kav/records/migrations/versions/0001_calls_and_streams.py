"""Calls and streams.

Revision: 0001, the first
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "calls",
        sa.Column("call_sid", sa.String(64), primary_key=True),
        sa.Column("direction", sa.String(16)),
        sa.Column("business", sa.String(64)),
        sa.Column("from_number", sa.String(128)),
        sa.Column("to_number", sa.String(128)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("end_reason", sa.String(64)),
        sa.Column("status", sa.String(64)),
        sa.Column("terminal_status", sa.String(64)),
        sa.Column("duration_s", sa.Integer),
        sa.Column("socket_ghost_ms", sa.Double),
        sa.Column("line_ghost_ms", sa.Double),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_calls_created_at", "calls", ["created_at"])
    op.create_table(
        "streams",
        sa.Column("stream_sid", sa.String(64), primary_key=True),
        sa.Column("call_sid", sa.String(64), sa.ForeignKey("calls.call_sid"), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("end_reason", sa.String(64)),
        sa.Column("socket_ghost_ms", sa.Double),
        sa.Column("frames_in", sa.Integer),
        sa.Column("frames_out", sa.Integer),
        sa.Column("barge_ins", sa.Integer),
    )
    op.create_index("ix_streams_call_sid", "streams", ["call_sid"])


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("streams")
    op.drop_table("calls")
