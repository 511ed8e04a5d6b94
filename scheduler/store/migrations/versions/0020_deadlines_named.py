"""For how many seconds a drain's deadline was last named, by which the same wish is known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the column; a drain under way was begun with what lies between its start and deadline."""
    op.add_column("drains", sa.Column("deadline_seconds", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE drains SET deadline_seconds = (deadline_at - started_at) / 1000000 "
        "WHERE deadline_at IS NOT NULL"
    )
