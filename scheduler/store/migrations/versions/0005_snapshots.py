"""What snapshots are made of and how far each has come, and what lies on what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def _text(name: str, default: str | None = None) -> sa.Column[str]:
    return sa.Column(
        name,
        sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
        nullable=default is None,
        server_default=default,
    )


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())


def upgrade() -> None:
    """Add the columns; what was there before is taken for finished."""
    for column in (
        _text("state", "READY"),
        _text("parent"),
        _flag("current"),
        sa.Column("files", sa.Text(), nullable=False, server_default="[]"),
        _flag("memory"),
        _flag("quiesced"),
        sa.Column("claim_mb", sa.BigInteger(), nullable=False, server_default="0"),
        _flag("manifest_wanted"),
        _text("manifest_ref"),
        _text("reason"),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
    ):
        op.add_column("snapshots", column)
    op.add_column("volumes", _text("backing"))
