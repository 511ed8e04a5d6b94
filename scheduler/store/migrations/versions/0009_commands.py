"""Who asked for a command, whether it is to be ended, and what is known of that end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_RUNNING = sa.text("status = 'RUNNING'")


def _text(name: str, **more: object) -> sa.Column[str]:
    kind = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return sa.Column(name, kind, **more)  # type: ignore[arg-type]


def upgrade() -> None:
    """Add the columns; commands that are there were nobody's to end."""
    op.add_column("commands", _text("actor", nullable=False, server_default=""))
    op.add_column("commands", _text("reason", nullable=True))
    op.add_column("commands", sa.Column("kill_requested_at", sa.BigInteger(), nullable=True))
    op.add_column(
        "commands",
        sa.Column("kill_unconfirmed", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index(
        "ix_commands_running",
        "commands",
        ["sandbox_id"],
        sqlite_where=_RUNNING,
        postgresql_where=_RUNNING,
    )
