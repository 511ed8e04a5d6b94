"""What makes a sandbox ready, and which SSH authority its guest trusts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def _text() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns; what was there before was ready with its address and knows no authority."""
    op.add_column(
        "sandboxes", sa.Column("ready", _text(), nullable=False, server_default="address")
    )
    op.add_column("sandboxes", sa.Column("ssh_ca", _text(), nullable=True))
    op.add_column("sandboxes", sa.Column("ssh_seen_at", sa.BigInteger(), nullable=True))
