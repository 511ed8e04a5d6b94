"""Manifests and contents are kept under their digest, once, checked when read, and collected."""

from __future__ import annotations

import os
import zlib
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from scheduler.changes.noise import NoiseRules
from scheduler.clock import SystemClock
from scheduler.errors import Unavailable
from scheduler.guests.inventory import Bounds
from scheduler.guests.kept_files import KeptFiles
from scheduler.guests.manifests import GRACE_SECONDS, Limits, Manifests
from tests.changes.manifests import file, manifest
from tests.guests.inventories import guest_here

KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\nnot one\n"


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A guest's directory."""
    root = tmp_path / "guest"
    (root / ".ssh").mkdir(parents=True)
    (root / "motd").write_bytes(b"hello")
    (root / "also").write_bytes(b"hello")
    (root / "large").write_bytes(b"x" * 2000)
    (root / "key").write_bytes(KEY)
    (root / ".ssh" / "id_rsa").write_bytes(b"told by its place")
    return root


@pytest.fixture
async def manifests(tmp_path: Path, root: Path) -> AsyncIterator[Manifests]:
    # The test's own directory is noise elsewhere.
    limits = Limits(bounds=Bounds(roots=(str(root),)), content_bytes=1000, noise=NoiseRules())
    async with Manifests.open(tmp_path / "state", SystemClock(), limits) as manifests:
        yield manifests


async def test_a_guest_is_taken_and_found_again(manifests: Manifests, root: Path) -> None:
    async with guest_here(None) as connection:
        ref = await manifests.take(connection)
        again = await manifests.take(connection)
    taken = await manifests.get(ref)
    assert taken.entries == (await manifests.get(again)).entries
    assert {one.sha256 for one in taken.entries if one.path == f"{root}/key"} == {digest(KEY)}
    assert await manifests.content(digest(b"hello")) == b"hello"
    for unkept in (b"x" * 2000, KEY, b"told by its place"):
        assert await manifests.content(digest(unkept)) is None


async def test_there_is_room_for_so_much(tmp_path: Path, root: Path) -> None:
    limits = Limits(bounds=Bounds(roots=(str(root),)), manifest_content_bytes=3, noise=NoiseRules())
    async with (
        Manifests.open(tmp_path / "state", SystemClock(), limits) as manifests,
        guest_here(None) as connection,
    ):
        await manifests.take(connection)
        assert manifests.contents.total_bytes() == 0


async def test_what_nothing_names_is_collected_when_it_is_old(
    manifests: Manifests, tmp_path: Path
) -> None:
    kept = [manifests.contents.keep(one) for one in (b"named", b"by a diff", b"by nobody", b"new")]
    ref = await manifests.keep(manifest(file("/etc/a", sha256=kept[0])))
    gone = await manifests.keep(manifest())
    for path in (tmp_path / "state").glob("*/*/*"):
        if path.name != kept[3]:
            age(path)
    assert await manifests.collect([ref], [kept[1]]) == 2
    assert [manifests.contents.holds(one) for one in kept] == [True, True, False, True]
    assert (await manifests.get(ref)).entries
    with pytest.raises(Unavailable, match="not under the state directory"):
        await manifests.get(gone)


def age(path: Path) -> None:
    old = path.stat().st_mtime - GRACE_SECONDS - 60
    os.utime(path, (old, old))


@pytest.mark.parametrize(
    "damage", [b"", b"junk", zlib.compress(b"other"), zlib.compress(b"x")[:-3]]
)
def test_a_damaged_file_is_no_content(tmp_path: Path, damage: bytes) -> None:
    files = KeptFiles(tmp_path)
    name = files.keep(b"content")
    (tmp_path / name[:2] / name).write_bytes(damage)
    assert files.get(name) is None


def test_a_content_is_kept_once_and_found(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path)
    name = files.keep(b"content" * 1000)
    assert files.keep(b"content" * 1000) == name
    assert files.get(name) == b"content" * 1000
    assert files.total_bytes() < 1000
    assert len([*tmp_path.glob("*/*")]) == 1
    for other in ("a" * 64, "../x", ""):
        assert files.get(other) is None
        assert not files.holds(other)


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be written"):
        KeptFiles(tmp_path / "file").keep(b"x")
    assert KeptFiles(tmp_path / "none").get("a" * 64) is None
