"""Room for the flat copy of a disk, of which an image is then made."""

from __future__ import annotations

from datetime import datetime

from scheduler.errors import HostRefused
from scheduler.model import HostResources
from scheduler.store import Transaction


def charge_copy(
    tx: Transaction,
    host: HostResources,
    storage_mb: int,
    what: str,
    *,
    remedy: str,
    at: datetime,
) -> None:
    """Charge a host with what a copy may take, until it is looked at again; refused without room.

    Raises `HostRefused`, which says of `what` it was, and the `remedy`.
    """
    current = tx.hosts.get(host.id)
    left = current.limit_storage_mb - current.reserved_storage_mb
    if left < storage_mb:
        raise HostRefused(
            f"host {host.name} has {max(0, left)} MiB of storage left, and {what} may take "
            f"{storage_mb} MiB",
            remedy=remedy,
        )
    charged = current.unmanaged_storage_mb + storage_mb
    tx.hosts.observe(host.id, at=at, unmanaged_storage_mb=charged)
