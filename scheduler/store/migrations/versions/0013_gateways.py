"""Where connections to a guest come from that go through its host."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column; what ran before learns it at its next start."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("sandboxes", sa.Column("ip_gateway", text, nullable=True))
