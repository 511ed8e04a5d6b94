"""Keeping images within bounds: only wishes are written, and the loops carry them out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.control.image_keeper import ImageKeeper, ImagePace
from scheduler.model import HostState, ImageState, ReplicaState
from scheduler.service.intents import Intent
from tests.clocks import ManualClock
from tests.control.imagery import Imagery, content
from tests.control.world import ME, World, world

DAY = 86_400
INTENT: Intent[Any] = Intent(actor=ME)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, ManualClock()) as opened:
        await opened.add_seen_host("alpha")
        yield opened


@pytest.fixture
def imagery(there: World) -> Imagery:
    return Imagery(there)


def keeper(there: World, woken: list[str], **pace: float) -> ImageKeeper:
    return ImageKeeper(there.store, there.clock, ImagePace(**pace), wake=woken.append)  # type: ignore[arg-type]


async def test_without_images_nothing_is_written(there: World) -> None:
    before = await there.store.read(lambda tx: tx.events.latest())
    assert await keeper(there, []).keep() is None
    assert await there.store.read(lambda tx: tx.events.latest()) == before


async def test_unused_replicas_beyond_the_limit_go_and_used_ones_stay(
    there: World, imagery: Imagery
) -> None:
    used, unused = await imagery.ready("used"), await imagery.ready("unused", content(24))
    for image in (used, unused):
        box = await there.create(base_image=image.name)
        await there.converger.converge(box.id)
        await imagery.replicate(image)
        await there.settle(box.id)
        if image is unused:
            await there.services.sandboxes.destroy(box.id, INTENT)
            await there.settle(box.id)
    woken: list[str] = []
    await keeper(there, woken, replicas_limit_mb=0).keep()
    host = await there.host()
    assert woken == [f"{unused.id}/{host.id}"]
    assert await imagery.state(used) is ReplicaState.READY
    assert await imagery.state(unused) is ReplicaState.REMOVING
    (event,) = await there.events(kind="image.surplus")
    assert "more than 0 MiB" in event.message
    await imagery.replicate(unused)
    assert await imagery.replica(unused) is None


async def test_what_an_operator_asked_for_stays_until_its_host_is_drained(
    there: World, imagery: Imagery
) -> None:
    image = await imagery.ready()
    await imagery.prefetch(image)
    await imagery.replicate(image)
    woken: list[str] = []
    await keeper(there, woken, replicas_limit_mb=0).keep()
    assert woken == []
    host = await there.host()
    for state in (HostState.DRAINING, HostState.DRAINED):
        before = (await there.host()).state
        await there.store.submit(
            lambda tx, before=before, state=state: tx.hosts.set_state(  # type: ignore[misc]
                host.id, before, state, at=there.clock.now()
            )
        )
    await keeper(there, woken, replicas_limit_mb=10**6).keep()
    assert woken == [f"{image.id}/{host.id}"]


async def test_an_upload_that_nobody_goes_on_with_is_dropped(
    there: World, imagery: Imagery
) -> None:
    taken = await imagery.take(body=content()[:512])
    await imagery.ingestor.ingest(taken.id)
    refused = await there.services.images.get(taken.id)
    assert refused.state is ImageState.REFUSED
    woken: list[str] = []
    there.clock.advance(DAY + 1)
    await keeper(there, woken, abandoned_seconds=DAY).keep()
    assert woken == [taken.id]
    assert await imagery.ingestor.ingest(taken.id) is None
    assert await there.store.read(lambda tx: tx.images.all()) == ()


async def test_the_last_use_of_a_replica_is_noted_now_and_then(
    there: World, imagery: Imagery
) -> None:
    image = await imagery.ready()
    box = await there.create(base_image="golden")
    await there.converger.converge(box.id)
    await imagery.replicate(image)
    await there.settle(box.id)
    there.clock.advance(2 * 3600)
    await keeper(there, []).keep()
    replica = await imagery.replica(image)
    assert replica is not None
    assert replica.used_at == there.clock.now()
