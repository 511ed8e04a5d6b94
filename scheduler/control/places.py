"""Where a sandbox is: what loops that go into guests look up before they do."""

from __future__ import annotations

from scheduler.model import HostResources, Sandbox
from scheduler.store import Transaction


def place_of(sandbox_id: str, tx: Transaction) -> tuple[Sandbox, HostResources]:
    """Return a sandbox and its host; raises `NotFound` when either is not known any more."""
    sandbox = tx.sandboxes.get(sandbox_id)
    return sandbox, tx.hosts.get(sandbox.host_id or "")
