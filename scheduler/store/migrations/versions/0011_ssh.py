"""SSH certificates that were issued, and sessions that were held with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import conv

revision = "0011"
down_revision = "0010"


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(
        name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=null
    )


def _number(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def upgrade() -> None:
    """Create both tables; they name sandboxes that may be forgotten before them."""
    op.create_table(
        "ssh_certificates",
        _text("id"),
        _number("serial"),
        _text("sandbox_id"),
        _text("actor"),
        _text("key_fingerprint"),
        _text("authority"),
        _number("created_at"),
        _number("valid_until"),
        _number("revoked_at", null=True),
        _text("revoked_by", null=True),
        sa.PrimaryKeyConstraint("id", name=conv("pk_ssh_certificates")),
    )
    op.create_table(
        "ssh_sessions",
        _text("id"),
        _text("sandbox_id"),
        _text("certificate_id"),
        _text("actor"),
        _number("created_at"),
        _number("ended_at", null=True),
        _number("bytes_in"),
        _number("bytes_out"),
        _text("end", null=True),
        sa.PrimaryKeyConstraint("id", name=conv("pk_ssh_sessions")),
    )
    for table in ("ssh_certificates", "ssh_sessions"):
        op.create_index(f"ix_{table}_created_at_id", table, ["created_at", "id"])
        op.create_index(f"ix_{table}_sandbox_id", table, ["sandbox_id"])
    op.create_index("ix_ssh_certificates_valid_until", "ssh_certificates", ["valid_until"])
    op.create_index("ix_ssh_sessions_ended_at", "ssh_sessions", ["ended_at"])
    where = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_ssh_sessions_unended",
        "ssh_sessions",
        ["created_at"],
        sqlite_where=where,
        postgresql_where=where,
    )
