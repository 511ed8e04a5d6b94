"""User data of sandboxes, their isolation, and the networks that a host offers beside its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import conv

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns and table; what was there before has none of it."""
    op.create_table(
        "user_data",
        sa.Column(
            "sandbox_id",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("content", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sandbox_id"], ["sandboxes.id"], name=conv("fk_user_data_sandbox_id")
        ),
        sa.PrimaryKeyConstraint("sandbox_id", name=conv("pk_user_data")),
    )
    op.add_column("sandboxes", sa.Column("user_data_bytes", sa.BigInteger(), nullable=True))
    op.add_column(
        "sandboxes",
        sa.Column("isolation", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("hosts", sa.Column("networks", sa.Text(), nullable=False, server_default="[]"))
