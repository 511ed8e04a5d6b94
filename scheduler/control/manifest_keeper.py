"""Removes manifests that no record names any more, and what was kept of files for them.

A record is read before anything is removed, and what is kept meanwhile is spared by its age: so a
manifest whose snapshot is just being recorded stays, whoever comes first.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from scheduler.control.tally import Tally
from scheduler.errors import Unavailable
from scheduler.guests.manifests import Manifests
from scheduler.store import Store, Transaction

AGAIN_SECONDS = 3600.0
"""When it is tried again after the disk would not have it."""

_log = structlog.get_logger("scheduler.control")


class ManifestKeeper:
    """One pass over all that is kept of guests."""

    def __init__(self, store: Store, manifests: Manifests, *, tally: Tally) -> None:
        self._store = store
        self._manifests = manifests
        self._tally = tally

    async def keep(self) -> float | None:
        """Remove what nothing needs; wants to go on sooner when the disk would not have it."""
        refs = await self._store.read(_manifests_named)
        contents = await self._contents_named()
        try:
            collected = await self._manifests.collect(refs, contents)
            room = await self._manifests.kept_bytes()
        except Unavailable as error:
            _log.warning("manifests not collected", why=error.message, remedy=error.remedy)
            return AGAIN_SECONDS
        self._tell({"manifests": collected.manifests, "contents": collected.contents}, room)
        return None

    async def _contents_named(self) -> set[str]:
        """Return the digests in all that diffs found, one diff at a time: each may be long."""
        named: set[str] = set()
        last = ""
        while found := await self._store.read(lambda tx, after=last: tx.diffs.digests(after)):  # type: ignore[misc]
            last, digests = found
            named |= digests
        return named

    def _tell(self, removed: Mapping[str, int], room: Mapping[str, int]) -> None:
        if any(removed.values()):
            _log.info("outdated", kind="manifests", removed=dict(removed), bytes=dict(room))
        for kind, files in removed.items():
            self._tally.collected(kind, files, room[kind])


def _manifests_named(tx: Transaction) -> frozenset[str]:
    return tx.snapshots.manifest_refs() | tx.diffs.manifest_refs()
