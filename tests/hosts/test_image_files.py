"""The control node's copies: never held in memory, never half there, written by one at once."""

from __future__ import annotations

import asyncio
import hashlib
import stat
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from scheduler.errors import Conflict, HostRefused, Invalid, Unavailable
from scheduler.hosts.image_files import HASHED_BYTES, ImageFiles
from scheduler.signs_of_life import watched
from tests.disks import fill, needs_root
from tests.hosts import images
from tests.waits import until
from tests.watchers import Notes

ID = "IMG-01JD"
MIB = 2**20


@pytest.fixture
def files(tmp_path: Path) -> Iterator[ImageFiles]:
    opened = ImageFiles(tmp_path / "images")
    yield opened
    opened.close()


async def chunks(content: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def broken(content: bytes) -> AsyncIterator[bytes]:
    yield content
    raise ConnectionError("the client went away")


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.mark.parametrize("size", [0, HASHED_BYTES, HASHED_BYTES + 5])
async def test_an_image_is_hashed_in_parts_that_show_that_it_goes_on(
    files: ImageFiles, tmp_path: Path, size: int
) -> None:
    await files.receive(ID, chunks(b""), offset=0, size=0)
    (part,) = (tmp_path / "images" / "spool").iterdir()
    with part.open("r+b") as file:
        file.truncate(size)
    notes = Notes()
    with watched(notes):
        digest = await files.digest(ID)
    assert len(notes.ended) == 1 + size // HASHED_BYTES
    with part.open("rb") as file:
        assert digest == f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


async def test_what_arrives_is_kept_and_named_by_its_content(
    files: ImageFiles, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 9000
    there = await files.receive(ID, chunks(content), offset=0, size=len(content))
    assert there == files.received(ID) == len(content)
    digest = await files.digest(ID)
    assert digest == digest_of(content)
    assert not await files.holds(digest)
    for _ in range(2):
        await files.keep(ID, digest)
    assert (await files.holds(digest), files.received(ID)) == (True, 0)
    assert await files.read(digest, 5, 10) == content[5:15]
    assert await files.read(digest, len(content), 10) == b""
    assert stat.S_IMODE(files.path(digest).stat().st_mode) == 0o444
    assert stat.S_IMODE((tmp_path / "images" / "store").stat().st_mode) == 0o700
    for _ in range(2):
        await files.remove(digest)
    assert not await files.holds(digest)


async def test_a_connection_that_breaks_loses_nothing_that_came(files: ImageFiles) -> None:
    with pytest.raises(ConnectionError):
        await files.receive(ID, broken(b"first"), offset=0, size=11)
    assert files.received(ID) == 5
    with pytest.raises(Conflict, match="5 bytes of the image have arrived, not 0") as refused:
        await files.receive(ID, chunks(b"first"), offset=0, size=11)
    assert refused.value.details == {"received_bytes": 5}
    assert await files.receive(ID, chunks(b"second"), offset=5, size=11) == 11
    assert await files.digest(ID) == digest_of(b"firstsecond")
    assert await files.receive(ID, chunks(b""), offset=11, size=11) == 11


async def test_more_than_was_announced_is_not_written(files: ImageFiles) -> None:
    with pytest.raises(Invalid, match="more than the 10 bytes"):
        await files.receive(ID, chunks(b"x" * 11), offset=0, size=10)
    assert files.received(ID) == 0


async def test_one_uploads_an_image_at_a_time(files: ImageFiles) -> None:
    going = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"a" * MIB
        await going.wait()

    first = asyncio.create_task(files.receive(ID, slow(), offset=0, size=MIB))
    await until(lambda: files.received(ID) == MIB)
    with pytest.raises(Conflict, match="somebody else"):
        await files.receive(ID, chunks(b"b"), offset=MIB, size=2 * MIB)
    going.set()
    assert await first == MIB


async def test_an_image_is_never_held_in_memory(files: ImageFiles) -> None:
    part = b"\0" * (256 * 1024)

    async def many() -> AsyncIterator[bytes]:
        for _ in range(400):
            yield part

    tracemalloc.start()
    try:
        await files.receive(ID, many(), offset=0, size=100 * MIB)
        await files.digest(ID)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert files.received(ID) == 100 * MIB
    assert peak < 8 * MIB


async def test_what_is_read_from_a_host_begins_anew(files: ImageFiles) -> None:
    await files.begin(ID)
    await files.append(ID, b"old")
    await files.begin(ID)
    await files.append(ID, b"new")
    await files.append(ID, b"er")
    assert await files.digest(ID) == digest_of(b"newer")
    for _ in range(2):
        await files.drop(ID)
    assert files.received(ID) == 0


async def test_what_arrived_passes_the_gate_or_does_not(files: ImageFiles, tmp_path: Path) -> None:
    sound = images.sound(tmp_path / "sound").read_bytes()
    await files.receive(ID, chunks(sound, MIB), offset=0, size=len(sound))
    judged = await files.judge(ID, "sound", most_virtual_bytes=2**40)
    assert (judged.format, judged.virtual_bytes) == ("qcow2", 16 * MIB)
    hostile = images.with_backing_file(tmp_path / "hostile").read_bytes()
    await files.receive("IMG-2", chunks(hostile, MIB), offset=0, size=len(hostile))
    with pytest.raises(HostRefused, match="backing file"):
        await files.judge("IMG-2", "hostile", most_virtual_bytes=2**40)


@needs_root
async def test_a_full_disk_is_told_and_what_came_is_gone_on_with(small_disk: Path) -> None:
    files = ImageFiles(small_disk / "images")
    try:
        ballast = fill(small_disk, leave=MIB + MIB // 2)
        content = b"z" * (5 * MIB // 2)
        with pytest.raises(Unavailable, match="No space left"):
            await files.receive(ID, chunks(content, MIB), offset=0, size=len(content))
        there = files.received(ID)
        assert 0 < there < len(content)
        ballast.unlink()
        await files.receive(ID, chunks(content[there:], MIB), offset=there, size=len(content))
        assert await files.digest(ID) == digest_of(content)
    finally:
        files.close()
