"""Taking images in: believed only after hash and gate, begun again after a death, let go whole."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler.errors import Conflict, HostTimeout, Unavailable
from scheduler.model import ImageState
from scheduler.model.observations import DomainState, ObservedVolume
from scheduler.service.intents import Intent
from scheduler.service.requests import TakeImage
from tests.clocks import ManualClock
from tests.control.imagery import Imagery, chunks, content, digest_of
from tests.control.world import ME, World, world
from tests.hosts import images
from tests.hosts.fake import FakeDomain, FakeDriver


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, ManualClock()) as opened:
        yield opened


@pytest.fixture
def imagery(there: World) -> Imagery:
    return Imagery(there)


def put(driver: FakeDriver, name: str, body: bytes) -> None:
    """Lay a volume with bytes into a host's pool, as an operator would."""
    driver.host.contents[name] = bytearray(body)
    driver.host.volumes[name] = ObservedVolume(
        name=name, path=f"/pool/{name}", capacity=len(body), physical=len(body), format="raw"
    )


async def test_an_upload_is_hashed_judged_and_kept(there: World, imagery: Imagery) -> None:
    taken = await imagery.take()
    assert taken.state is ImageState.CHECKING
    assert there.shelf.catalogue.find("golden") is None
    image = await imagery.ready()
    assert (image.format, image.virtual_bytes) == ("qcow2", 16 * images.MIB)
    for reference in (image.id, "golden", str(image.digest)):
        assert there.shelf.catalogue.find(reference) == image
    kinds = [event.kind for event in await there.events() if event.kind.startswith("image.")]
    assert kinds == ["image.taken", "image.arrived", "image.ready"]
    assert await there.shelf.files.read(str(image.digest), 0, 2**30) == content()


async def test_other_bytes_than_were_announced_are_refused(there: World, imagery: Imagery) -> None:
    body = content()
    wanted = TakeImage(name="golden", digest=digest_of(b"other"), size_bytes=len(body))
    taken = await there.services.images.take(wanted, Intent(actor=ME))
    await there.services.images.receive(taken.id, 0, chunks(body))
    assert await imagery.ingestor.ingest(taken.id) is None
    report = await there.services.images.get(taken.id)
    assert report.state is ImageState.REFUSED
    assert "adds up to" in (report.reason or "")
    assert there.shelf.files.received(taken.id) == 0
    again = await imagery.ready()
    assert again.id != taken.id


async def test_a_hostile_image_is_refused_and_never_offered(
    there: World, imagery: Imagery, tmp_path: Path
) -> None:
    body = images.with_backing_file(tmp_path / "hostile").read_bytes()
    taken = await imagery.take("hostile", body)
    await imagery.ingestor.ingest(taken.id)
    report = await there.services.images.get(taken.id)
    assert report.state is ImageState.REFUSED
    assert "depends on another file" in (report.reason or "")
    assert there.shelf.catalogue.find("hostile") is None


async def test_a_check_that_a_death_cut_short_is_done_again(there: World, imagery: Imagery) -> None:
    """After the rename and before its commit: the file is in the store, the row says CHECKING."""
    taken = await imagery.take()
    digest = str(taken.digest)
    judged = await there.shelf.files.judge(taken.id, "golden", most_virtual_bytes=2**40)
    image = await there.store.read(lambda tx: tx.images.get(taken.id))
    await there.store.submit(lambda tx: imagery.ingestor._judge(image, digest, judged, tx))
    await there.shelf.files.keep(taken.id, digest)
    assert await imagery.ingestor.pending() == (taken.id,)
    assert await imagery.ingestor.ingest(taken.id) is None
    assert (await there.services.images.get(taken.id)).state is ImageState.READY


async def test_the_same_content_under_another_name_is_refused(
    there: World, imagery: Imagery
) -> None:
    first = await imagery.ready()
    taken = await imagery.take("twin")
    await imagery.ingestor.ingest(taken.id)
    report = await there.services.images.get(taken.id)
    assert report.state is ImageState.REFUSED
    assert f"image golden ({first.id}) has the same content" in (report.reason or "")
    assert await there.shelf.files.holds(str(first.digest))


async def test_sandboxes_are_created_from_an_image_while_it_is_uploaded_again(
    there: World, imagery: Imagery
) -> None:
    await there.add_seen_host()
    golden = await imagery.ready()
    wanted = TakeImage(name="again", digest=golden.digest, size_bytes=len(content()))
    there.clock.advance(1)
    await there.services.images.take(wanted, Intent(actor=ME))
    box = await there.create(base_image="golden")
    assert box.image_digest == golden.digest
    assert (await there.services.images.get(str(golden.digest))).id == golden.id


async def test_a_content_that_was_judged_is_one_image_s_even_before_it_is_ready(
    there: World, imagery: Imagery
) -> None:
    first, second = await imagery.take("first"), await imagery.take("second")
    digest = str(first.digest)
    judged = await there.shelf.files.judge(first.id, "first", most_virtual_bytes=2**40)
    image = await there.store.read(lambda tx: tx.images.get(first.id))
    await there.store.submit(lambda tx: imagery.ingestor._judge(image, digest, judged, tx))
    await imagery.ingestor.ingest(second.id)
    report = await there.services.images.get(second.id)
    assert report.state is ImageState.REFUSED
    assert f"image first ({first.id}) has the same content" in (report.reason or "")
    await there.shelf.files.keep(first.id, digest)
    await there.services.images.remove(first.id, Intent(actor=ME))
    await imagery.ingestor.ingest(first.id)
    assert not await there.shelf.files.holds(digest)


async def test_a_machine_that_cannot_judge_says_so_and_refuses_nothing(
    there: World, imagery: Imagery, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = await imagery.take()
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(Unavailable):
        await imagery.ingestor.ingest(taken.id)
    report = await there.services.images.get(taken.id)
    assert report.state is ImageState.CHECKING
    assert "qemu-img is not installed" in (report.reason or "")
    monkeypatch.undo()
    assert await imagery.ingestor.ingest(taken.id) is None
    assert (await there.services.images.get(taken.id)).reason is None


async def fetched(there: World, imagery: Imagery, volume: str = "source.qcow2") -> str:
    wanted = TakeImage(name="golden", host="alpha", volume=volume)
    taken = await there.services.images.take(wanted, Intent(actor=ME))
    assert taken.state is ImageState.FETCHING
    await imagery.ingestor.ingest(taken.id)
    return taken.id


async def test_a_volume_is_read_from_its_pool(there: World, imagery: Imagery) -> None:
    driver = await there.add_seen_host()
    put(driver, "source.qcow2", content())
    image_id = await fetched(there, imagery)
    report = await there.services.images.get(image_id)
    assert (report.state, report.digest) == (ImageState.READY, digest_of(content()))
    assert report.size_bytes == len(content())


@pytest.mark.parametrize("volume", ["missing.qcow2", "overlay.qcow2"])
def test_names(volume: str) -> None:
    assert TakeImage(name="x", host="alpha", volume=volume).volume == volume


async def test_a_volume_that_is_not_there_is_refused(there: World, imagery: Imagery) -> None:
    await there.add_seen_host()
    image_id = await fetched(there, imagery, "missing.qcow2")
    report = await there.services.images.get(image_id)
    assert report.state is ImageState.REFUSED
    assert "no image 'missing.qcow2'" in (report.reason or "")


async def test_a_volume_that_somebody_writes_to_is_no_golden_image(
    there: World, imagery: Imagery, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await there.add_seen_host()
    put(driver, "source.qcow2", content())
    kept = driver._read

    def grows(name: str, offset: int, length: int) -> bytes | None:
        part = kept(name, offset, length)
        put(driver, name, content() + b"\0" * 512)
        return part

    monkeypatch.setattr(driver, "_read", grows)
    image_id = await fetched(there, imagery)
    report = await there.services.images.get(image_id)
    assert report.state is ImageState.REFUSED
    assert "changed while it was read" in (report.reason or "")


async def test_one_that_is_given_up_while_it_is_read_goes_whatever_the_reading_finds(
    there: World, imagery: Imagery, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await there.add_seen_host()
    put(driver, "source.qcow2", content())
    kept = driver.read_volume

    async def given_up(name: str, offset: int, length: int) -> bytes | None:
        part = await kept(name, offset, length)
        gone = await there.services.images.remove("golden", Intent(actor=ME))
        assert gone.state is ImageState.REMOVING
        put(driver, name, content() + b"\0" * 512)
        return part

    monkeypatch.setattr(driver, "read_volume", given_up)
    wanted = TakeImage(name="golden", host="alpha", volume="source.qcow2")
    taken = await there.services.images.take(wanted, Intent(actor=ME))
    assert await imagery.ingestor.ingest(taken.id) == 0.0
    assert (await there.services.images.get(taken.id)).state is ImageState.REMOVING
    assert await imagery.ingestor.ingest(taken.id) is None
    assert await there.store.read(lambda tx: tx.images.all()) == ()
    kinds = [event.kind for event in await there.events() if event.kind.startswith("image.")]
    assert kinds == ["image.taken", "image.remove_requested", "image.removed"]


async def test_the_disk_of_a_running_machine_is_no_golden_image(
    there: World, imagery: Imagery
) -> None:
    driver = await there.add_seen_host()
    put(driver, "source.qcow2", content())
    driver.host.domains["u"] = FakeDomain(
        uuid="u", name="busy", state=DomainState.RUNNING, disks=("source.qcow2",)
    )
    image_id = await fetched(there, imagery)
    report = await there.services.images.get(image_id)
    assert report.state is ImageState.REFUSED
    assert "is the disk of a running machine: busy" in (report.reason or "")


async def test_a_host_that_is_late_is_asked_again(there: World, imagery: Imagery) -> None:
    driver = await there.add_seen_host()
    put(driver, "source.qcow2", content())
    driver.fail("read_volume", HostTimeout("late"))
    with pytest.raises(Unavailable, match="late"):
        await fetched(there, imagery)
    (pending,) = await imagery.ingestor.pending()
    assert await imagery.ingestor.ingest(pending) is None
    assert (await there.services.images.get(pending)).state is ImageState.READY


async def test_a_simulated_host_has_no_bytes_to_give(there: World, imagery: Imagery) -> None:
    driver = await there.add_seen_host(streams=False)
    driver.host.add_image("source.qcow2")
    image_id = await fetched(there, imagery)
    report = await there.services.images.get(image_id)
    assert "no bytes to read" in (report.reason or "")


async def test_removing_waits_for_the_hosts_and_leaves_nothing(
    there: World, imagery: Imagery
) -> None:
    await there.add_seen_host()
    image = await imagery.ready()
    await imagery.prefetch(image)
    await imagery.replicate(image)
    await there.services.images.remove("golden", Intent(actor=ME))
    pause = await imagery.ingestor.ingest(image.id)
    assert pause is not None
    assert pause > 0
    await imagery.replicate(image)
    assert await imagery.ingestor.ingest(image.id) is None
    assert not await there.shelf.files.holds(str(image.digest))
    assert await there.store.read(lambda tx: tx.images.all()) == ()
    assert await imagery.ingestor.ingest(image.id) is None


async def test_what_sandboxes_were_made_from_is_not_removed_and_they_are_named(
    there: World, imagery: Imagery
) -> None:
    await there.add_seen_host()
    image = await imagery.ready()
    await imagery.prefetch(image)
    await imagery.replicate(image)
    box = await there.created(base_image="golden", sandbox_name="needs-it")
    with pytest.raises(Conflict, match="1 sandboxes were made from it: needs-it") as refused:
        await there.services.images.remove("golden", Intent(actor=ME))
    assert refused.value.details == {"sandboxes": [box.id]}
    with pytest.raises(Conflict, match="needs-it"):
        await there.services.images.evict("golden", "alpha", Intent(actor=ME))


async def test_what_was_to_be_read_from_a_host_that_left_is_refused(
    there: World, imagery: Imagery
) -> None:
    put(await there.add_seen_host("alpha"), "disk.qcow2", content())
    wanted = TakeImage(name="golden", host="alpha", volume="disk.qcow2")
    taken = await there.services.images.take(wanted, Intent(actor=ME))
    await there.services.hosts.remove("alpha", Intent(actor=ME))
    assert await imagery.ingestor.ingest(taken.id) is None
    report = await there.services.images.get(taken.id)
    assert report.state is ImageState.REFUSED
    assert report.reason == "the host that disk.qcow2 was on left the fleet before it was read"
    assert await imagery.ingestor.pending() == ()
