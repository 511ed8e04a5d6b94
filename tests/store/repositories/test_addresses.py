"""Addresses of guests: asked for by plain columns, so that only who has one is read."""

from __future__ import annotations

from typing import Any

from scheduler.model import SandboxState
from scheduler.store import Store
from tests.store.samples import host, later, sandbox


async def test_who_has_an_address_is_told_by_host_network_and_life(store: Store) -> None:
    await store.submit(
        lambda tx: [tx.hosts.add(host(id, name=id.lower())) for id in ("HST-1", "HST-2")]
    )
    has: dict[str, Any] = {"host_id": "HST-1", "network": "lan", "ip_address": "10.0.0.5"}
    others: list[dict[str, Any]] = [
        {"host_id": "HST-2"},
        {"network": "wan"},
        {"ip_address": "10.0.0.6"},
        {"ip_address": None},
        {"state": SandboxState.DESTROYED, "deleted_at": later(1)},
    ]
    names = [f"SBX-{number}" for number in range(2, 7)]
    boxes = [
        sandbox(name, sandbox_name=name.lower(), **has | other)
        for name, other in zip(names, others, strict=True)
    ]
    one = sandbox(**has)
    await store.submit(lambda tx: [tx.sandboxes.add(box) for box in (one, *boxes)])
    found = await store.read(lambda tx: tx.sandboxes.of_address("HST-1", "lan", "10.0.0.5"))
    assert found == (one,)
