"""Which machine a source VM is, by which key it is known, and the looks taken at it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import conv

revision = "0014"
down_revision = "0013"


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(
        name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=null
    )


def _number(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def upgrade() -> None:
    """Add the columns and the table; what was recorded before is of no known machine."""
    op.add_column("source_vms", _text("domain_uuid", null=True))
    op.add_column("source_vms", _text("host_key", null=True))
    op.add_column(
        "source_vms", sa.Column("generation", sa.BigInteger(), nullable=False, server_default="1")
    )
    op.create_table(
        "inspections",
        _text("id"),
        _text("source_id"),
        _text("host_name"),
        _text("name"),
        sa.Column("argv", sa.Text(), nullable=False),
        _number("timeout_seconds"),
        _text("actor"),
        _text("status"),
        _number("exit_code", null=True),
        sa.Column("stdout", sa.LargeBinary(), nullable=False),
        sa.Column("stderr", sa.LargeBinary(), nullable=False),
        _number("stdout_bytes"),
        _number("stderr_bytes"),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("redacted", sa.Text(), nullable=False),
        _text("reason", null=True),
        _number("asked_at"),
        _number("ended_at", null=True),
        sa.PrimaryKeyConstraint("id", name=conv("pk_inspections")),
        sa.ForeignKeyConstraint(
            ["source_id"], ["source_vms.id"], name=conv("fk_inspections_source_id")
        ),
    )
    op.create_index(
        "ix_inspections_source_id_asked_at_id", "inspections", ["source_id", "asked_at", "id"]
    )
    op.create_index("ix_inspections_ended_at", "inspections", ["ended_at"])
    where = sa.text("status = 'WAITING'")
    op.create_index(
        "ix_inspections_waiting",
        "inspections",
        ["source_id"],
        sqlite_where=where,
        postgresql_where=where,
    )
