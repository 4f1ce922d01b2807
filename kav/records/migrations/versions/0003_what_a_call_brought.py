"""What a call brought: turns, answers, breaches, tool calls, usage; and what a list of calls is searched by.

Revision: 0003, after 0002
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CALL_COLUMNS: dict[str, Any] = {
    "language": sa.String(16),
    "flow_done": sa.Boolean,
    "summary": sa.String(10_000),
    "answered_steps": sa.Integer,
    "barge_ins": sa.Integer,
    "cost_micro_usd": sa.Integer,
    "erased_at": sa.DateTime(timezone=True),
}


def upgrade() -> None:
    """Add columns, indexes and tables; the one index that goes is covered by the one that comes."""
    for name, kind in CALL_COLUMNS.items():
        op.add_column("calls", sa.Column(name, kind))
    op.drop_index("ix_calls_created_at", "calls")
    op.create_index("ix_calls_newest", "calls", ["created_at", "call_sid"])
    op.create_index("ix_calls_business", "calls", ["business", "created_at", "call_sid"])
    op.create_index("ix_calls_from_number", "calls", ["from_number"])
    op.create_index("ix_calls_to_number", "calls", ["to_number"])
    op.create_table(
        "turns",
        sa.Column("call_sid", sa.String(64), sa.ForeignKey("calls.call_sid"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("stream_sid", sa.String(64)),
        sa.Column("at_ms", sa.Integer),
        sa.Column("who", sa.String(64)),
        sa.Column("kind", sa.String(64)),
        sa.Column("phrase", sa.String(64)),
        sa.Column("text", sa.String(10_000)),
        sa.Column("heard", sa.String(10_000)),
        sa.Column("audio_ms", sa.Integer),
        sa.Column("heard_ms", sa.Integer),
        sa.Column("language", sa.String(16)),
        sa.Column("step", sa.String(64)),
        sa.Column("latency_ms", sa.Integer),
        sa.Column("judge_ms", sa.Integer),
    )
    op.create_table(
        "answers",
        sa.Column("call_sid", sa.String(64), sa.ForeignKey("calls.call_sid"), primary_key=True),
        sa.Column("step", sa.String(64), primary_key=True),
        sa.Column("value", sa.String(10_000)),
        sa.Column("unanswered", sa.String(64)),
        sa.Column("language", sa.String(16)),
        sa.Column("at_ms", sa.Integer),
        sa.Column("position", sa.Integer),
    )
    op.create_table(
        "breaches",
        sa.Column("call_sid", sa.String(64), sa.ForeignKey("calls.call_sid"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at_ms", sa.Integer),
        sa.Column("what", sa.String(64)),
        sa.Column("detail", sa.String(10_000)),
    )
    op.create_table(
        "tool_calls",
        sa.Column("call_sid", sa.String(64), sa.ForeignKey("calls.call_sid"), primary_key=True),
        sa.Column("call_id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64)),
        sa.Column("arguments", sa.String(10_000)),
        sa.Column("output", sa.String(10_000)),
        sa.Column("at_ms", sa.Integer),
        sa.Column("duration_ms", sa.Integer),
        sa.Column("ok", sa.Boolean),
    )
    op.create_table(
        "usage",
        sa.Column("call_sid", sa.String(64), sa.ForeignKey("calls.call_sid"), primary_key=True),
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("responses", sa.Integer),
        sa.Column("input_text", sa.Integer),
        sa.Column("input_audio", sa.Integer),
        sa.Column("cached_text", sa.Integer),
        sa.Column("cached_audio", sa.Integer),
        sa.Column("output_text", sa.Integer),
        sa.Column("output_audio", sa.Integer),
        sa.Column("audio_s", sa.Double),
        sa.Column("cost_micro_usd", sa.Integer),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("usage", "tool_calls", "breaches", "answers", "turns"):
        op.drop_table(table)
    for name in ("newest", "business", "from_number", "to_number"):
        op.drop_index(f"ix_calls_{name}", "calls")
    op.create_index("ix_calls_created_at", "calls", ["created_at"])
    with op.batch_alter_table("calls") as calls:
        for name in CALL_COLUMNS:
            calls.drop_column(name)
