"""How a writing transaction begins: with the writers' lock, and only on the schema we know.

A newer sandboxd on another machine may upgrade a database that this one has open. From then on this
one must not write: it would leave out what the newer schema promises. It costs one look a batch.
"""

from __future__ import annotations

from sqlalchemy import Connection

from scheduler.store.engines import begin_writing
from scheduler.store.faults import other_schema

_VERSION = "SELECT version_num FROM alembic_version"


class Gate:
    """Lets transactions write while the database has the revision that was found at open."""

    def __init__(self, revision: str) -> None:
        self._revision = revision

    def enter(self, connection: Connection) -> None:
        """Take the writers' lock; `ReadOnly` when the schema has been changed."""
        begin_writing(connection)
        cursor = connection.connection.cursor()
        try:
            cursor.execute(_VERSION)
            row = cursor.fetchone()
        finally:
            cursor.close()
        found = row[0] if row else None
        if found != self._revision:
            raise other_schema(found, self._revision)
