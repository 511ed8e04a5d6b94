"""SSH authorities, and certificates by the authority that signed them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import conv

revision = "0016"
down_revision = "0015"


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(
        name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=null
    )


def upgrade() -> None:
    """Create the table; the daemon writes down what keys there are when it starts."""
    op.create_table(
        "ssh_authorities",
        _text("id"),
        _text("name"),
        _text("state"),
        _text("fingerprint", null=True),
        _text("public_key", null=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        _text("created_by"),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        _text("retired_by", null=True),
        sa.PrimaryKeyConstraint("id", name=conv("pk_ssh_authorities")),
        sa.UniqueConstraint("fingerprint", name=conv("uq_ssh_authorities_fingerprint")),
    )
    op.create_index("ix_ssh_authorities_created_at_id", "ssh_authorities", ["created_at", "id"])
    op.create_index("ix_ssh_certificates_authority", "ssh_certificates", ["authority"])
