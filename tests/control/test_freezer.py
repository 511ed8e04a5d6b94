"""A source VM becomes an image, and the image a sandbox; the machine itself is never touched."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from dataclasses import replace

import pytest

from scheduler.control.listings import Listings
from scheduler.errors import (
    AlreadyExists,
    Conflict,
    ConstraintImpossible,
    HostRefused,
    HostTimeout,
    NotFound,
)
from scheduler.hosts import ObjectBusy
from scheduler.model import (
    DomainState,
    Image,
    ImageState,
    ObservedVolume,
    SourceVM,
    VolumeRole,
    VolumeState,
)
from scheduler.service.intents import Intent
from scheduler.service.requests import CreateSandbox, FreezeSource
from scheduler.service.sightings import Sightings
from scheduler.service.source_images import copy_volume
from scheduler.service.source_vms import SourceVMService
from scheduler.service.terms import SourceTerms
from scheduler.sources.preparations import Preparation, to_json
from tests.control.imagery import Imagery, content
from tests.control.world import ME, World
from tests.hosts.fake import FakeDomain, FakeDriver
from tests.waits import until

AUTHORITY = "SHA256:authority"
UUID = "6b0f1e9c-5a51-4d5e-8f6a-000000000009"
DISK = "golden-disk.qcow2"


async def put(there: World, driver: FakeDriver, *, cloud_init: bool = True) -> FakeDomain:
    """Have the host hold a machine that is off and was prepared."""
    body = content()
    driver.host.contents[DISK] = bytearray(body)
    driver.host.volumes[DISK] = ObservedVolume(
        name=DISK, path=f"/pool/{DISK}", capacity=16 * 2**20, physical=len(body), format="qcow2"
    )
    domain = FakeDomain(uuid=UUID, name="golden", disks=(DISK,))
    driver.host.domains[UUID] = domain
    now = there.clock.now()
    agreed = Preparation(actor=ME, asked_at=now, cloud_init=cloud_init)
    source = SourceVM(
        id="SVM-1",
        name="golden",
        host_name="alpha",
        prepared=True,
        prepared_at=now,
        prepare_json=to_json(agreed),
        ca_fingerprint=AUTHORITY,
        domain_uuid=UUID,
        created_at=now,
        updated_at=now,
    )
    await there.store.submit(lambda tx: tx.source_vms.upsert(source))
    return domain


async def freeze(there: World, name: str | None = None) -> str:
    listings = Listings(there.clock)
    seen = (await there.look()).inventory
    assert seen is not None
    listings.put(seen)
    sources = SourceVMService(
        there.store,
        there.clock,
        SourceTerms(),
        sightings=Sightings(listings, there.clock, wake=there.bell.host, stale_after_seconds=60.0),
        journal=there.journal,
        wake=there.bell.image,
        wake_image=there.bell.image,
        authority=lambda: AUTHORITY,
    )
    asked = await sources.freeze("alpha", "golden", FreezeSource(name=name), Intent(actor=ME))
    assert asked.state is ImageState.FREEZING
    return asked.id


async def image(there: World, id: str) -> Image:
    return await there.store.read(lambda tx: tx.images.get(id))


async def ingested(there: World, id: str) -> Image:
    assert id in await Imagery(there).ingestor.pending()
    assert await Imagery(there).ingestor.ingest(id) is None
    return await image(there, id)


def request(**fields: object) -> CreateSandbox:
    return CreateSandbox.model_validate({"agent_id": "a", "storage_mb": 1024, **fields})


async def test_a_machine_that_is_off_becomes_an_image_and_that_a_sandbox(
    there: World, driver: FakeDriver
) -> None:
    domain = await put(there, driver)
    before = deepcopy(domain), driver.host.volumes[DISK], bytes(driver.host.contents[DISK])
    wished = request(source_vm="golden", remove_secrets=True, vcpus=1, memory_mb=512)
    with pytest.raises(Conflict, match="no image of source VM alpha/golden to clone"):
        await there.services.sandboxes.create(wished, Intent(actor=ME))
    asked = await freeze(there)
    with pytest.raises(Conflict, match="is FREEZING still"):
        await there.services.sandboxes.create(wished, Intent(actor=ME))
    made = await ingested(there, asked)
    assert made.usable
    assert made.source_vm == "alpha/golden"
    assert made.name.startswith("golden-")
    assert await there.shelf.files.read(made.digest or "", 0, 2**30) == content()
    kinds = [event.kind for event in await there.events() if event.kind.startswith("image.")]
    assert kinds == ["image.taken", "image.frozen", "image.checking", "image.ready"]
    assert await there.store.read(lambda tx: tx.volumes.of_owner(asked)) == ()
    assert set(driver.host.volumes) == {DISK, "golden.qcow2"}, "the copy is gone"
    after = domain, driver.host.volumes[DISK], bytes(driver.host.contents[DISK])
    assert after == before, "I5"
    plan = await there.services.sandboxes.preview(wished)
    assert plan.host_name == "alpha"
    clone = await there.services.sandboxes.create(wished, Intent(actor=ME))
    assert (clone.base_image, clone.image_digest) == (made.name, made.digest)
    assert (clone.source_vm, clone.remove_secrets) == ("alpha/golden", True)
    with pytest.raises(AlreadyExists):
        await freeze(there, made.name)
    with pytest.raises(NotFound):
        await there.services.sandboxes.create(request(source_vm="beta/x"), Intent(actor=ME))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"state": DomainState.RUNNING}, "its live disk is never read"),
        ({"name": "another"}, "not there any more"),
        ({"disks": ("elsewhere",)}, "no volume of its host's pool"),
    ],
)
async def test_what_cannot_be_frozen_is_refused_and_nothing_is_left(
    there: World, driver: FakeDriver, change: dict[str, object], why: str
) -> None:
    domain = await put(there, driver)
    asked = await freeze(there)
    for name, value in change.items():
        setattr(domain, name, value)
    refused = await ingested(there, asked)
    assert refused.state is ImageState.REFUSED
    assert why in (refused.reason or "")
    assert set(driver.host.volumes) == {DISK, "golden.qcow2"}
    assert await Imagery(there).ingestor.pending() == ()


async def test_one_that_runs_gives_what_its_snapshot_froze(
    there: World, driver: FakeDriver
) -> None:
    domain = await put(there, driver)
    driver.host.volumes["live.qcow2"] = replace(
        driver.host.volumes[DISK], name="live.qcow2", path="/pool/live.qcow2"
    )
    domain.disks, domain.state = ("live.qcow2",), DomainState.RUNNING
    domain.frozen = (DISK, int(there.clock.now().timestamp()) + 1)
    assert (await ingested(there, await freeze(there, "frozen"))).usable


async def test_a_disk_that_is_written_to_meanwhile_is_nobodys_image(
    there: World, driver: FakeDriver
) -> None:
    domain = await put(there, driver)
    asked = await freeze(there)
    flatten = driver.flatten_volume

    async def started(source: str, name: str) -> None:
        await flatten(source, name)
        domain.state = DomainState.RUNNING

    driver.flatten_volume = started  # type: ignore[method-assign]
    refused = await ingested(there, asked)
    assert refused.state is ImageState.REFUSED
    assert "running machine" in (refused.reason or "")
    assert set(driver.host.volumes) == {DISK, "golden.qcow2"}


async def test_a_copy_that_its_host_is_still_making_is_waited_for(
    there: World, driver: FakeDriver
) -> None:
    """A dead daemon had begun it: the host goes on, and lets nobody remove what it makes."""
    await put(there, driver)
    asked = await freeze(there)
    driver.fail("flatten_volume", ObjectBusy("the volume is still being allocated"))
    with pytest.raises(ObjectBusy):
        await Imagery(there).ingestor.ingest(asked)
    waiting = await there.store.read(lambda tx: tx.images.get(asked))
    assert (waiting.state, waiting.reason) == (
        ImageState.FREEZING,
        "the volume is still being allocated",
    )
    assert (await ingested(there, asked)).usable


async def test_a_copy_that_was_cut_short_is_made_anew(there: World, driver: FakeDriver) -> None:
    await put(there, driver)
    asked = await freeze(there)
    driver.fail("flatten_volume", HostTimeout("it hangs"), after=True)
    with pytest.raises(HostTimeout):
        await Imagery(there).ingestor.ingest(asked)
    (listed,) = await there.store.read(lambda tx: tx.volumes.of_owner(asked))
    assert (listed.role, listed.name in driver.host.volumes) == (VolumeRole.IMAGE, True)
    assert (await ingested(there, asked)).usable
    assert listed.name not in driver.host.volumes


async def test_i1_the_room_of_a_copy_stays_charged_while_it_is_made(
    there: World, driver: FakeDriver
) -> None:
    """However often its host is looked at, with half of it there or none."""
    await put(there, driver)
    asked = await freeze(there)
    resized(driver, 50_000)
    at_rest, gate = await there.host(), asyncio.Event()
    driver.gates["flatten_volume"] = gate
    copying = asyncio.create_task(Imagery(there).ingestor.ingest(asked))
    await until(lambda: driver.calls["flatten_volume"] == 1)
    copy = copy_volume(asked)
    for physical_mb in (None, 20_000):
        if physical_mb is not None:
            driver.host.add_image(copy, 50_000, physical_mb)
            driver.host.copying.add(copy)
        await there.look()
        during = await there.host()
        assert at_rest.limit_storage_mb - during.limit_storage_mb == 50_000
        with pytest.raises(ConstraintImpossible):
            await there.create(storage_mb=during.limit_storage_mb + 1)
        (listed,) = await there.store.read(lambda tx: tx.volumes.of_owner(asked))
        assert listed.state is VolumeState.PLANNED, "half of it is there"
    gate.set()
    await copying
    driver.host.copying.clear()
    await there.look()
    assert (await there.host()).limit_storage_mb == at_rest.limit_storage_mb


async def test_i1_a_disk_that_grew_between_two_tries_is_charged_what_it_grew_by(
    there: World, driver: FakeDriver
) -> None:
    await put(there, driver)
    asked, at_rest = await freeze(there), await there.host()
    for size_mb, error in (
        (100, HostTimeout("it hangs")),
        (40_000, ObjectBusy("the volume is still being allocated")),
        (200, HostTimeout("it hangs")),
    ):
        resized(driver, size_mb)
        driver.fail("flatten_volume", error)
        with pytest.raises(type(error)):
            await Imagery(there).ingestor.ingest(asked)
        await there.look()
        charged = at_rest.limit_storage_mb - (await there.host()).limit_storage_mb
        assert charged == max(size_mb, 100 if size_mb == 100 else 40_000)
    resized(driver, 16)
    assert (await ingested(there, asked)).virtual_bytes == 16 * 2**20, "as it was found to be"


def resized(driver: FakeDriver, size_mb: int) -> None:
    volume = driver.host.volumes[DISK]
    driver.host.volumes[DISK] = replace(volume, capacity=size_mb * 2**20)


async def test_a_copy_that_could_not_be_removed_is_removed_later_and_before_its_image(
    there: World, driver: FakeDriver
) -> None:
    await put(there, driver)
    asked = await freeze(there)
    driver.fail("delete_volume", HostTimeout("it hangs"), times=2)
    with pytest.raises(HostTimeout):
        await Imagery(there).ingestor.ingest(asked)
    assert (await image(there, asked)).usable
    assert asked in await Imagery(there).ingestor.pending()
    await there.services.images.remove(asked, Intent(actor=ME))
    with pytest.raises(HostTimeout):
        await Imagery(there).ingestor.ingest(asked)
    assert await Imagery(there).ingestor.ingest(asked) is None
    assert set(driver.host.volumes) == {DISK, "golden.qcow2"}
    with pytest.raises(NotFound):
        await image(there, asked)


async def test_a_removal_that_its_host_refuses_is_tried_again(
    there: World, driver: FakeDriver
) -> None:
    await put(there, driver)
    asked = await freeze(there)
    driver.fail("delete_volume", HostRefused("cannot unlink file: device busy"), times=2)
    with pytest.raises(HostRefused):
        await Imagery(there).ingestor.ingest(asked)
    assert (await image(there, asked)).usable, "its copy is no part of it"
    await there.services.images.remove(asked, Intent(actor=ME))
    with pytest.raises(HostRefused):
        await Imagery(there).ingestor.ingest(asked)
    waiting = await image(there, asked)
    assert (waiting.state, waiting.reason) == (
        ImageState.REMOVING,
        "cannot unlink file: device busy",
    )
    assert await Imagery(there).ingestor.pending() == (asked,)
    assert await Imagery(there).ingestor.ingest(asked) is None
    assert set(driver.host.volumes) == {DISK, "golden.qcow2"}
    with pytest.raises(NotFound):
        await image(there, asked)


async def test_a_host_without_room_and_a_source_without_cloud_init_are_told(
    there: World, driver: FakeDriver
) -> None:
    await put(there, driver, cloud_init=False)
    asked = await freeze(there, "one")
    host = await there.host("alpha")
    await there.store.submit(
        lambda tx: tx.hosts.observe(
            host.id, at=there.clock.now(), unmanaged_storage_mb=host.total_storage_mb
        )
    )
    full = await ingested(there, asked)
    assert "MiB of storage left" in (full.reason or "")
    assert (await ingested(there, await freeze(there, "two"))).usable
    wished = request(source_vm="alpha/golden", remove_secrets=True)
    with pytest.raises(Conflict, match="has no cloud-init"):
        await there.services.sandboxes.create(wished, Intent(actor=ME))
    for fields in (
        {"base_image": "x", "source_vm": "golden"},
        {},
        {"base_image": "x", "remove_secrets": True},
    ):
        with pytest.raises(ValueError, match="validation error"):
            request(**fields)
    driver.host.domains[UUID].name = "renamed"
    with pytest.raises(NotFound):
        await freeze(there)


async def test_a_machine_whose_host_left_before_it_was_copied_becomes_no_image(
    there: World, driver: FakeDriver
) -> None:
    await put(there, driver)
    image_id = await freeze(there)
    await there.services.hosts.remove("alpha", Intent(actor=ME))
    assert await Imagery(there).ingestor.ingest(image_id) is None
    image = await there.store.read(lambda tx: tx.images.get(image_id))
    assert image.state is ImageState.REFUSED
    assert "left the fleet before it was read" in (image.reason or "")
