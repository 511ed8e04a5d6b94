"""Which source VM an image was made of and a sandbox was asked to be a clone of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def _text() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns; what was there before is of no source VM."""
    op.add_column("images", sa.Column("source_vm", _text(), nullable=True))
    op.add_column("sandboxes", sa.Column("source_vm", _text(), nullable=True))
    op.add_column(
        "sandboxes",
        sa.Column("remove_secrets", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
