"""What guests print while they boot."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import conv

revision = "0019"
down_revision = "0018"

_UNENDED = sa.text("ended_at IS NULL")


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(
        name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=null
    )


def _number(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "consoles",
        _text("sandbox_id"),
        _number("boot_at"),
        _number("begun_at", null=True),
        _number("ended_at", null=True),
        sa.Column("printed", sa.LargeBinary(), nullable=False),
        _number("dropped_bytes"),
        sa.Column("gaps", sa.Text(), nullable=False),
        _text("reason", null=True),
        _number("updated_at"),
        sa.PrimaryKeyConstraint("sandbox_id", name=conv("pk_consoles")),
        sa.ForeignKeyConstraint(
            ["sandbox_id"], ["sandboxes.id"], name=conv("fk_consoles_sandbox_id")
        ),
    )
    op.create_index(
        "ix_consoles_unended",
        "consoles",
        ["sandbox_id"],
        sqlite_where=_UNENDED,
        postgresql_where=_UNENDED,
    )
