"""Which manifests a diff was computed from, so that they are kept for as long as it is; its end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column, of which nobody knows for what was there before, and find old diffs."""
    op.add_column("diffs", sa.Column("manifests", sa.Text(), nullable=False, server_default="[]"))
    op.create_index("ix_diffs_created_at", "diffs", ["created_at"])
    op.create_index("ix_change_sets_diff_id", "change_sets", ["diff_id"])
