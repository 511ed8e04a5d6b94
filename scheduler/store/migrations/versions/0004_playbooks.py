"""What Ansible says to a playbook, and tasks whose parameters are data."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; what is stored was neither checked nor is it data only."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("playbooks", sa.Column("checked_revision", sa.BigInteger(), nullable=True))
    op.add_column("playbooks", sa.Column("check_fault", text, nullable=True))
    op.add_column(
        "playbook_tasks",
        sa.Column("literal", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
