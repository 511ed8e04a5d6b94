"""Whether the daemon can do its work, as far as its database is concerned."""

from __future__ import annotations

from scheduler.store import Store


class ReadinessService:
    """Asks the store; it keeps trying by itself whether a fault is over (see `Store.probe`)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def check(self) -> None:
        """Return when the database can be read and written; raise what it says when it cannot."""
        await self._store.ping()
        self._store.condition.check()
