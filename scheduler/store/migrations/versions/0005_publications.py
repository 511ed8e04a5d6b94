"""What a publication needs to be carried out step by step, and to go on after a crash."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def _text(name: str, *, default: str | None = None, document: bool = False) -> sa.Column[str]:
    kind = sa.Text() if document else sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=default is None, server_default=default)


def _number(name: str, *, default: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=default is None, server_default=default)


_COLUMNS: tuple[sa.Column[str] | sa.Column[int], ...] = (
    _text("change_set_id"),
    _text("forge", default=""),
    _text("base"),
    _text("folder", default=""),
    _text("title", default=""),
    _text("message", default=""),
    _text("labels", default="[]", document=True),
    _text("reviewers", default="[]", document=True),
    _text("base_sha"),
    _text("planned_sha"),
    _number("pr_number"),
    _number("opened_at"),
    _number("attempts", default="0"),
    _number("retry_at"),
    _text("reason_code"),
    _text("notes", default="[]", document=True),
    _text("actor", default="system"),
    _number("generation", default="1"),
)


def upgrade() -> None:
    """Add the columns; a publication that is there already keeps what it has."""
    with op.batch_alter_table("publications") as table:
        for column in _COLUMNS:
            table.add_column(column)
    with op.batch_alter_table("publications") as table:
        for column in _COLUMNS:
            if not column.nullable:
                table.alter_column(column.name, server_default=None)
    op.create_index("ix_publications_change_set_id", "publications", ["change_set_id"])
    op.create_index("ix_publications_created_at_id", "publications", ["created_at", "id"])
