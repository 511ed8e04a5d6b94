"""How far change sets have come, and their verifications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import conv

revision = "0007"
down_revision = "0006"


def _text(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[str]:
    kind = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=null, server_default=default)


def _number(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=null, server_default=default)


def _json(name: str, *, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, server_default=default)


def upgrade() -> None:
    """Change sets from before are READY, as they were."""
    columns: tuple[sa.Column[str] | sa.Column[int], ...] = (
        _text("name", default="sandbox_changes"),
        _text("state", default="READY"),
        _text("reason", null=True),
        _text("actor", default="system"),
        _number("wishes", default="0"),
        _number("reviews", default="0"),
        _json("checks", default="[]"),
        _number("updated_at", null=True),
    )
    for column in columns:
        op.add_column("change_sets", column)
    op.create_table(
        "verifications",
        _text("change_set_id"),
        _text("phase"),
        _text("result", null=True),
        _text("reason", null=True),
        _text("clone_id", null=True),
        _number("attempts"),
        _number("restarts"),
        _text("log"),
        _json("remaining"),
        _text("actor"),
        _number("generation"),
        _number("started_at"),
        _number("updated_at"),
        _number("ended_at", null=True),
        sa.ForeignKeyConstraint(
            ["change_set_id"], ["change_sets.id"], name=conv("fk_verifications_change_set_id")
        ),
        sa.PrimaryKeyConstraint("change_set_id", name=conv("pk_verifications")),
    )
