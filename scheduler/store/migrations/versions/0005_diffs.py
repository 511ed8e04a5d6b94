"""What a diff was computed from, and all of it beside the seed's lists."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns; what was there before was computed from nothing that is known."""
    op.add_column("diffs", sa.Column("noise", sa.Text(), nullable=False, server_default="[]"))
    op.add_column(
        "diffs",
        sa.Column(
            "inputs",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            server_default="",
        ),
    )
    op.add_column("diffs", sa.Column("delta", sa.Text(), nullable=True))
