"""Drains and volumes: what a loop carries out to its proven end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.errors import AlreadyExists, Conflict, Invalid, NotFound
from scheduler.model import DrainState, VolumeState
from scheduler.store import DrainFilter, ListOptions, Store
from tests.store.samples import drain, host, later, volume


async def test_a_host_has_one_active_drain(store: Store) -> None:
    first = drain()
    await store.submit(lambda tx: tx.drains.add(first))
    with pytest.raises(AlreadyExists):
        await store.submit(lambda tx: tx.drains.add(drain("DRN-2")))
    assert await store.read(lambda tx: tx.drains.active("HST-1")) == first
    ended = replace(first, state=DrainState.FINISHED, ended_at=later(9))
    await store.submit(lambda tx: tx.drains.replace(ended))
    assert await store.read(lambda tx: tx.drains.active("HST-1")) is None
    assert await store.read(lambda tx: tx.drains.latest("HST-1")) == ended
    await store.submit(lambda tx: tx.drains.add(drain("DRN-2", started_at=later(10))))
    newest = await store.read(lambda tx: tx.drains.latest("HST-1"))
    assert newest is not None
    assert newest.id == "DRN-2"
    assert await store.read(lambda tx: tx.drains.get("DRN-1")) == ended


async def test_a_drain_in_progress_is_the_newest_though_the_clock_was_set_back(
    store: Store,
) -> None:
    ended = drain("DRN-2", state=DrainState.FINISHED, started_at=later(7200))
    await store.submit(lambda tx: [tx.drains.add(ended), tx.drains.add(drain("DRN-1"))])
    newest = await store.read(lambda tx: tx.drains.latest("HST-1"))
    assert newest is not None
    assert newest.id == "DRN-1"


async def test_i7_an_ended_drain_never_changes(store: Store) -> None:
    await store.submit(lambda tx: tx.drains.add(drain(state=DrainState.ABORTED)))
    with pytest.raises(Conflict, match="is ABORTED, not ACTIVE"):
        await store.submit(lambda tx: tx.drains.replace(drain(remaining=3)))
    with pytest.raises(NotFound):
        await store.submit(lambda tx: tx.drains.replace(drain("DRN-9")))
    assert await store.read(lambda tx: tx.drains.latest("HST-9")) is None


async def test_drains_are_found_by_host_and_state(store: Store) -> None:
    await store.submit(
        lambda tx: [
            tx.drains.add(drain("DRN-1")),
            tx.drains.add(drain("DRN-2", state=DrainState.ABORTED, started_at=later(1))),
            tx.drains.add(drain("DRN-3", host_id="HST-2", started_at=later(2))),
        ]
    )

    async def ids(filter: DrainFilter | None = None) -> list[str]:
        page = await store.read(lambda tx: tx.drains.find(filter, ListOptions()))
        return [one.id for one in page.items]

    assert await ids() == ["DRN-3", "DRN-2", "DRN-1"]
    assert await ids(DrainFilter(state=DrainState.ACTIVE)) == ["DRN-3", "DRN-1"]
    assert await ids(DrainFilter(host_id="HST-1", state=DrainState.ABORTED)) == ["DRN-2"]


async def test_a_volume_is_listed_before_it_is_created(store: Store) -> None:
    await store.submit(lambda tx: tx.hosts.add(host()))
    listed = await store.submit(lambda tx: tx.volumes.add(volume()))
    key = (listed.host_id, listed.pool, listed.name)
    with pytest.raises(AlreadyExists):
        await store.submit(lambda tx: tx.volumes.add(volume("SBX-2", name=listed.name)))
    assert await store.read(lambda tx: tx.volumes.planned("HST-1")) == (listed,)
    await store.submit(lambda tx: tx.volumes.mark_created(*key))
    assert await store.read(lambda tx: tx.volumes.planned("HST-1")) == ()
    created = await store.read(lambda tx: tx.volumes.get(*key))
    assert created == replace(listed, state=VolumeState.CREATED)
    assert await store.read(lambda tx: tx.volumes.of_owner("SBX-1")) == (created,)
    assert await store.read(lambda tx: tx.volumes.of_host("HST-1")) == (created,)
    assert await store.read(lambda tx: tx.volumes.all()) == (created,)
    await store.submit(lambda tx: tx.volumes.remove(*key))
    for gone in (
        store.read(lambda tx: tx.volumes.get(*key)),
        store.submit(lambda tx: tx.volumes.remove(*key)),
        store.submit(lambda tx: tx.volumes.mark_created(*key)),
    ):
        with pytest.raises(NotFound):
            await gone


async def test_a_volume_needs_its_host(store: Store) -> None:
    with pytest.raises(Invalid, match="does not exist"):
        await store.submit(lambda tx: tx.volumes.add(volume()))
