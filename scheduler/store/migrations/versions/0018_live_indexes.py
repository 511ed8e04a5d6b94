"""Indexes for what is asked within the writer and all the time: it must not read what is over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

_LIVE = sa.text("deleted_at IS NULL")
_UNDONE = sa.text("phase <> 'DONE'")


def upgrade() -> None:
    """Create them; none is unique, so nothing that is there can refuse one."""
    for name, columns in (
        ("ix_sandboxes_agent_live", ["agent_id", "created_at", "id"]),
        ("ix_sandboxes_image_live", ["image_digest", "created_at", "id"]),
    ):
        op.create_index(name, "sandboxes", columns, sqlite_where=_LIVE, postgresql_where=_LIVE)
    op.create_index(
        "ix_verifications_undone",
        "verifications",
        ["started_at", "change_set_id"],
        sqlite_where=_UNDONE,
        postgresql_where=_UNDONE,
    )
