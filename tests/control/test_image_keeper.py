"""Keeping images within bounds: only wishes are written, and the loops carry them out."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from scheduler.control.image_keeper import ImageKeeper, ImagePace, _thin_out
from scheduler.model import HostState, Image, ImageState, ReplicaState
from scheduler.service.intents import Intent
from scheduler.service.requests import TakeImage
from tests.control.imagery import Imagery, chunks, content, digest_of
from tests.control.world import ME, World

DAY = 86_400
INTENT: Intent[Any] = Intent(actor=ME)


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


async def unused(there: World, imagery: Imagery) -> Image:
    """Return an image that a host holds and no sandbox needs any more."""
    image = await imagery.ready()
    box = await there.create(base_image=image.name)
    await there.converger.converge(box.id)
    await imagery.replicate(image)
    await there.settle(box.id)
    await there.services.sandboxes.destroy(box.id, INTENT)
    await there.settle(box.id)
    return image


@pytest.mark.parametrize("meanwhile", ["placed", "pinned", "cordoned", "nothing"])
async def test_what_changed_since_it_was_looked_for_is_left_alone(
    there: World, imagery: Imagery, meanwhile: str
) -> None:
    """Looking takes as long as the fleet is large, so it is not done by the one writer."""
    image = await unused(there, imagery)
    host, now = await there.host(), there.clock.now()
    found = await there.store.read(partial(keeper(there, [], replicas_limit_mb=0)._plan, now))
    match meanwhile:
        case "placed":
            await there.create(base_image=image.name)
        case "pinned":
            await imagery.prefetch(image)
        case "cordoned":
            await there.store.submit(
                lambda tx: tx.hosts.set_state(host.id, host.state, HostState.CORDONED, at=now)
            )
    woken = await there.store.submit(partial(_thin_out, found, now))
    assert woken == (() if meanwhile != "nothing" else (f"{image.id}/{host.id}",))
    state = await imagery.state(image)
    assert state is (ReplicaState.REMOVING if woken else ReplicaState.READY)


async def test_what_is_in_use_is_noted_so_from_time_to_time(there: World, imagery: Imagery) -> None:
    image = await imagery.ready()
    box = await there.create(base_image=image.name)
    await there.converger.converge(box.id)
    await imagery.replicate(image)
    await there.settle(box.id)
    first = await imagery.replica(image)
    assert first is not None
    await keeper(there, []).keep()
    assert await imagery.replica(image) == first, "nothing is written for it"
    for step in (3601.0, -7300.0):
        there.clock.set_wall(step)
        await keeper(there, []).keep()
        noted = await imagery.replica(image)
        assert noted is not None
        assert noted.used_at == there.clock.now()


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


async def twin(there: World, imagery: Imagery, name: str, state: ImageState) -> str:
    """Announce the content of `golden` under another name, and have it come so far."""
    if state is ImageState.REFUSED:
        taken = await imagery.take(name)
        await imagery.ingestor.ingest(taken.id)
    else:
        wanted = TakeImage(name=name, digest=digest_of(content()), size_bytes=len(content()))
        taken = await there.services.images.take(wanted, INTENT)
        if state is ImageState.CHECKING:
            await there.services.images.receive(taken.id, 0, chunks(content()))
    assert (await there.services.images.get(taken.id)).state is state
    return taken.id


async def only_golden_is_left(there: World, imagery: Imagery, golden: Image, *gone: str) -> None:
    """Have images removed; the one that has their content keeps its file, and is found by it."""
    for image_id in gone:
        assert await imagery.ingestor.ingest(image_id) is None
    assert await there.store.read(lambda tx: tx.images.all()) == (golden,)
    assert await there.shelf.files.holds(str(golden.digest))
    assert (await there.services.images.get(str(golden.digest))).id == golden.id


async def test_twins_that_nobody_goes_on_with_are_dropped_beside_the_image_they_are_of(
    there: World, imagery: Imagery
) -> None:
    golden = await imagery.ready()
    states = (ImageState.REFUSED, ImageState.RECEIVING, ImageState.REFUSED)
    names = ("again", "begun", "and-again")
    twins = [
        await twin(there, imagery, name, state) for name, state in zip(names, states, strict=True)
    ]
    woken: list[str] = []
    there.clock.advance(DAY + 1)
    assert await keeper(there, woken, abandoned_seconds=DAY).keep() is None
    assert woken == twins
    told = await there.events(kind="image.abandoned")
    assert [event.evidence["image_id"] for event in told] == twins
    await only_golden_is_left(there, imagery, golden, *twins)


@pytest.mark.parametrize(
    "state", [ImageState.REFUSED, ImageState.RECEIVING, ImageState.CHECKING], ids=str
)
async def test_a_twin_is_removed_beside_the_image_it_is_of(
    there: World, imagery: Imagery, state: ImageState
) -> None:
    golden = await imagery.ready()
    image_id = await twin(there, imagery, "again", state)
    gone = await there.services.images.remove(image_id, INTENT)
    assert (gone.state, gone.digest) == (ImageState.REMOVING, None)
    await only_golden_is_left(there, imagery, golden, image_id)


async def test_an_image_and_the_refused_twin_it_outlived_leave_nothing(
    there: World, imagery: Imagery
) -> None:
    golden = await imagery.ready()
    image_id = await twin(there, imagery, "again", ImageState.REFUSED)
    await there.services.images.remove(golden.id, INTENT)
    await imagery.ingestor.ingest(golden.id)
    assert not await there.shelf.files.holds(str(golden.digest))
    there.clock.advance(DAY + 1)
    await keeper(there, [], abandoned_seconds=DAY).keep()
    await imagery.ingestor.ingest(image_id)
    assert await there.store.read(lambda tx: tx.images.all()) == ()


async def test_what_somebody_goes_on_with_meanwhile_is_kept(there: World, imagery: Imagery) -> None:
    begun = await twin(there, imagery, "begun", ImageState.RECEIVING)
    there.clock.advance(DAY + 1)
    before = await there.store.read(lambda tx: tx.images.get(begun))
    await there.services.images.receive(begun, 0, chunks(content()))
    woken: list[str] = []
    await keeper(there, woken, abandoned_seconds=DAY)._give_up(before)
    assert woken == []
    assert (await there.services.images.get(begun)).state is ImageState.CHECKING


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
