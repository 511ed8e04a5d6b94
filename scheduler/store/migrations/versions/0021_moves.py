"""That a sandbox is to move to another host, and whose disk an image carries there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def _text() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns; nothing moved before, and every image was somebody's own."""
    op.add_column("sandboxes", sa.Column("move_asked_at", sa.BigInteger(), nullable=True))
    op.add_column("sandboxes", sa.Column("move_to", _text(), nullable=True))
    op.add_column("sandboxes", sa.Column("move_reason", _text(), nullable=True))
    op.add_column("sandboxes", sa.Column("move_drain_id", _text(), nullable=True))
    op.add_column("sandboxes", sa.Column("moved_at", sa.BigInteger(), nullable=True))
    op.add_column("images", sa.Column("owner_sandbox_id", _text(), nullable=True))
    op.create_index("ix_images_owner_sandbox_id", "images", ["owner_sandbox_id"])
