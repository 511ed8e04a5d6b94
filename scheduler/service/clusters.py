"""Which cluster a database belongs to: the state directory's files and its record must agree."""

from __future__ import annotations

from pathlib import Path

from scheduler.hosts.cluster import open_cluster
from scheduler.hosts.marks import Keyring
from scheduler.store import Store

CLUSTER_SETTING = "cluster.id"


async def keyring_of(state_dir: Path, store: Store) -> Keyring:
    """Return the fleet's keyring; an empty database takes over the state directory's cluster.

    Raises `Invalid` when the two belong to different ones, or a key is missing.
    """
    recorded = await store.read(lambda tx: tx.settings.get(CLUSTER_SETTING))
    keyring = open_cluster(state_dir, recorded)
    if recorded is None:
        await store.submit(lambda tx: tx.settings.ensure(CLUSTER_SETTING, keyring.cluster_id))
    return keyring
