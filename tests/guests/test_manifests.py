"""Manifests and contents are kept under their digest, once, checked when read, and collected."""

from __future__ import annotations

import os
import random
import re
import zlib
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from scheduler.changes.manifest_documents import to_bytes
from scheduler.changes.noise import NoiseRules
from scheduler.clock import SystemClock
from scheduler.errors import Unavailable
from scheduler.guests.inventory import Bounds
from scheduler.guests.kept_files import PART_BYTES, KeptFiles
from scheduler.guests.manifests import GRACE_SECONDS, Collected, Limits, Manifests
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


async def test_an_empty_file_is_kept_though_another_one_lies_where_secrets_do(
    manifests: Manifests, root: Path
) -> None:
    (root / ".ssh" / "id_ed25519").touch()
    (root / "empty").touch()
    async with guest_here(None) as connection:
        await manifests.take(connection)
    assert await manifests.content(digest(b"")) == b""


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
    assert await manifests.collect([ref], [kept[1]]) == Collected(manifests=1, contents=1)
    assert [manifests.contents.holds(one) for one in kept] == [True, True, False, True]
    assert (await manifests.get(ref)).entries
    with pytest.raises(Unavailable, match="not under the state directory"):
        await manifests.get(gone)


async def test_what_is_seen_again_is_spared_though_no_record_names_it_yet(
    manifests: Manifests, tmp_path: Path, root: Path
) -> None:
    """Its manifest is kept now and recorded in a moment; a collection comes in between."""
    old = [manifests.contents.keep(one) for one in (b"hello", b"by nobody")]
    kept = await manifests.keep(manifest(file("/etc/a")))
    for path in (tmp_path / "state").glob("*/*/*"):
        age(path)
    async with guest_here(None) as connection:
        ref = await manifests.take(connection)
    await manifests.get(kept)
    assert await manifests.collect([], []) == Collected(manifests=0, contents=1)
    assert await manifests.content(old[0]) == b"hello"
    assert (await manifests.get(ref)).entries
    assert (await manifests.get(kept)).entries


async def test_no_room_is_no_reason_to_let_go_of_what_is_kept_already(
    tmp_path: Path, root: Path
) -> None:
    limits = Limits(bounds=Bounds(roots=(str(root),)), manifest_content_bytes=3, noise=NoiseRules())
    async with (
        Manifests.open(tmp_path / "state", SystemClock(), limits) as manifests,
        guest_here(None) as connection,
    ):
        late = manifests.contents.keep(b"x" * 2000)
        for path in (tmp_path / "state").glob("*/*/*"):
            age(path)
        await manifests.take(connection)
        assert await manifests.collect([], []) == Collected(manifests=0, contents=0)
        assert manifests.contents.holds(late)


async def test_digests_are_found_wherever_a_long_manifest_has_them(
    manifests: Manifests, tmp_path: Path
) -> None:
    contents = [str(number).encode() for number in range(20_000)]
    named = [digest(one) for one in contents]
    long = manifest(*(file(f"/etc/{n:05}", sha256=one) for n, one in enumerate(named)))
    text = to_bytes(long)
    assert len(text) > PART_BYTES
    seam = text[PART_BYTES - 65 : PART_BYTES + 65].decode()
    (cut,) = re.findall(r'"([0-9a-f]{64})"', seam)
    chosen = (0, named.index(cut), len(named) - 1)
    kept = [manifests.contents.keep(contents[number]) for number in chosen]
    ref = await manifests.keep(long)
    for path in (tmp_path / "state" / "contents").glob("*/*"):
        age(path)
    assert await manifests.collect([ref], []) == Collected(manifests=0, contents=0)
    assert all(map(manifests.contents.holds, kept))


async def test_a_damaged_manifest_names_nothing_and_a_stubborn_disk_is_told(
    manifests: Manifests, tmp_path: Path
) -> None:
    ref = await manifests.keep(manifest(file("/etc/a", sha256=manifests.contents.keep(b"a"))))
    (path,) = (tmp_path / "state" / "manifests").glob("*/*")
    path.write_bytes(b"junk")
    for one in (tmp_path / "state").glob("*/*/*"):
        age(one)
    assert await manifests.collect([ref, "0" * 64], []) == Collected(manifests=0, contents=1)
    stuck = tmp_path / "state" / "contents" / "ab" / "stuck"
    stuck.mkdir(parents=True)
    age(stuck)
    with pytest.raises(Unavailable, match=r"kept of guests cannot be used: .*stuck\)"):
        await manifests.collect([ref], [])


async def test_a_disk_that_cannot_be_looked_at_is_told(
    manifests: Manifests, tmp_path: Path
) -> None:
    lost = tmp_path / "state" / "contents" / "ab" / "lost"
    lost.parent.mkdir(parents=True)
    lost.symlink_to(lost)
    with pytest.raises(Unavailable, match="Too many levels of symbolic links"):
        await manifests.kept_bytes()


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


def test_what_is_claimed_between_look_and_removal_stays(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path)
    names = [files.keep(one) for one in (b"a", b"b", b"c")]
    for path in tmp_path.glob("*/*"):
        age(path)
    before = SystemClock().now().timestamp() - GRACE_SECONDS
    idle = files.untouched(before=before)
    assert {*idle} == {*names}
    assert files.keep(b"a") == names[0]
    assert files.claim(names[1])
    idle[names[2]].unlink()
    assert files.remove(idle.values(), before=before) == 0
    assert [files.holds(name) for name in names] == [True, True, False]
    assert not files.claim(names[2])


def test_a_content_is_the_same_in_parts(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path)
    content = random.Random(1).randbytes(PART_BYTES) + b"0" * 3 * PART_BYTES
    parts = [*files.parts(files.keep(content))]
    assert b"".join(parts) == content
    assert max(map(len, parts)) == PART_BYTES
    assert [*files.parts("0" * 64)] == []


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be written"):
        KeptFiles(tmp_path / "file").keep(b"x")
    assert KeptFiles(tmp_path / "none").get("a" * 64) is None
