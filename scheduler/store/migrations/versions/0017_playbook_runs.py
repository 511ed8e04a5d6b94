"""Runs of playbooks, with the play on each sandbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import conv

revision = "0017"
down_revision = "0016"


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(
        name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=null
    )


def _moment(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "playbook_runs",
        _text("id"),
        _text("playbook_id"),
        _text("playbook_name"),
        _moment("revision"),
        _text("yaml"),
        sa.Column("check", sa.Boolean(), nullable=False),
        _moment("timeout_seconds"),
        sa.Column("plays", sa.Text(), nullable=False),
        _text("actor"),
        _moment("generation"),
        _moment("asked_at"),
        _moment("updated_at"),
        _moment("cancel_requested_at", null=True),
        _moment("ended_at", null=True),
        sa.PrimaryKeyConstraint("id", name=conv("pk_playbook_runs")),
    )
    op.create_index(
        "ix_playbook_runs_playbook_id_asked_at_id",
        "playbook_runs",
        ["playbook_id", "asked_at", "id"],
    )
    op.create_index("ix_playbook_runs_ended_at", "playbook_runs", ["ended_at"])
