"""Golden images and their replicas on hosts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import conv

revision = "0002"
down_revision = "0001"

_KEPT = sa.text("state <> 'REFUSED'")
_USABLE = sa.text("state IN ('READY', 'REMOVING')")


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(
        name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=null
    )


def _number(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def upgrade() -> None:
    """Create both tables, parents first."""
    op.create_table(
        "images",
        _text("id"),
        _text("name"),
        _text("digest", null=True),
        _text("state"),
        _text("format", null=True),
        _number("size_bytes"),
        _number("virtual_bytes", null=True),
        _text("source_host_id", null=True),
        _text("source_volume", null=True),
        _text("actor"),
        _text("reason", null=True),
        _number("created_at"),
        _number("updated_at"),
        sa.PrimaryKeyConstraint("id", name=conv("pk_images")),
    )
    op.create_index("ix_images_created_at_id", "images", ["created_at", "id"])
    for name, column, where in (
        ("uq_images_name_kept", "name", _KEPT),
        ("uq_images_digest_usable", "digest", _USABLE),
    ):
        op.create_index(
            name, "images", [column], unique=True, sqlite_where=where, postgresql_where=where
        )
    op.create_table(
        "replicas",
        _text("image_id"),
        _text("host_id"),
        _text("pool"),
        _text("volume"),
        _text("state"),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        _number("attempts"),
        _text("reason", null=True),
        _number("retry_at", null=True),
        _text("fingerprint", null=True),
        _number("generation"),
        _number("used_at"),
        _number("created_at"),
        _number("updated_at"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=conv("fk_replicas_image_id")),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.id"], name=conv("fk_replicas_host_id")),
        sa.PrimaryKeyConstraint("image_id", "host_id", name=conv("pk_replicas")),
    )
    op.create_index("ix_replicas_host_id", "replicas", ["host_id"])
