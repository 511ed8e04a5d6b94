"""Manifests and contents go when no snapshot and no diff needs them any more, and not before."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from scheduler.clock import SystemClock
from scheduler.control.evidence import RecordedEvidence
from scheduler.control.manifest_keeper import AGAIN_SECONDS, ManifestKeeper
from scheduler.control.tally import Untold
from scheduler.errors import NotFound, Unavailable
from scheduler.guests.inventory import Bounds
from scheduler.guests.manifests import GRACE_SECONDS, Limits, Manifests
from scheduler.model import ChangeDiff, Delta, Diff, FileChange
from scheduler.store import Store
from tests.changes.manifests import file, manifest
from tests.clocks import START
from tests.control.world import World
from tests.store.samples import sandbox, snapshot

DIFF = Diff(
    id="DIF-1",
    sandbox_id="SBX-1",
    from_snapshot="a",
    to_snapshot="b",
    diff_json=ChangeDiff(),
    created_at=START,
)


class Counted(Untold):
    """Adds up what was collected."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.left: dict[str, int] = {}

    def collected(self, kind: str, files: int, left_bytes: int, /) -> None:
        self.files[kind] = self.files.get(kind, 0) + files
        self.left[kind] = left_bytes


class Kept:
    """What is kept of guests, and the loop that lets go of it."""

    def __init__(self, manifests: Manifests, store: Store, state: Path) -> None:
        self.manifests = manifests
        self.told = Counted()
        self.keeper = ManifestKeeper(store, manifests, tally=self.told)
        self.state = state

    async def manifest(self, content: bytes) -> str:
        """Keep a manifest that names one file with this content, which is kept too."""
        named = self.manifests.contents.keep(content)
        return await self.manifests.keep(manifest(file("/etc/a", sha256=named)))

    def age(self) -> None:
        """Have everything been there for longer than anybody needs to record it."""
        for path in self.state.glob("*/*/*"):
            old = path.stat().st_mtime - GRACE_SECONDS - 60
            os.utime(path, (old, old))

    async def holds(self, ref: str) -> bool:
        try:
            await self.manifests.get(ref)
        except Unavailable:
            return False
        return True


@pytest.fixture
async def kept(empty: World, tmp_path: Path) -> AsyncIterator[Kept]:
    state = tmp_path / "kept"
    await empty.store.submit(lambda tx: tx.sandboxes.add(sandbox("SBX-1")))
    limits = Limits(bounds=Bounds(roots=("/etc",)))
    async with Manifests.open(state, SystemClock(), limits) as manifests:
        yield Kept(manifests, empty.store, state)


async def test_what_a_snapshot_or_a_diff_needs_stays(kept: Kept, empty: World) -> None:
    refs = [await kept.manifest(one) for one in (b"snapshot", b"from", b"to", b"nobody")]
    alone = kept.manifests.contents.keep(b"of an older daemon's diff")
    found = Delta(files=(FileChange(before=None, after=file("/a", sha256=alone)),))
    diff = replace(DIFF, manifests=(refs[1], refs[2]))
    older = replace(DIFF, id="DIF-2", to_snapshot="c", delta=found)
    await empty.store.submit(lambda tx: tx.snapshots.add(snapshot(manifest_ref=refs[0])))
    for one in (diff, older):
        await empty.store.submit(lambda tx, one=one: tx.diffs.add(one))  # type: ignore[misc]
    kept.age()
    assert await kept.keeper.keep() is None
    assert [await kept.holds(ref) for ref in refs] == [True, True, True, False]
    contents = (b"snapshot", b"from", b"to", b"of an older daemon's diff", b"nobody")
    there = [kept.manifests.contents.holds(sha256(one).hexdigest()) for one in contents]
    assert there == [True, True, True, True, False]
    assert kept.told.files == {"manifests": 1, "contents": 1}
    assert min(kept.told.left.values()) > 0
    await empty.store.submit(lambda tx: tx.snapshots.remove("SNP-1"))
    kept.age()
    await kept.keeper.keep()
    assert [await kept.holds(ref) for ref in refs] == [False, True, True, False]


async def test_a_manifest_whose_snapshot_is_just_being_recorded_stays(
    kept: Kept, empty: World
) -> None:
    kept.manifests.contents.keep(b"of it")
    kept.age()
    ref = await kept.manifest(b"of it")
    await kept.keeper.keep()
    await empty.store.submit(lambda tx: tx.snapshots.add(snapshot(manifest_ref=ref)))
    kept.age()
    await kept.keeper.keep()
    assert await kept.holds(ref)
    assert kept.told.files == {"manifests": 0, "contents": 0}


async def test_a_disk_that_will_not_have_it_is_asked_again(kept: Kept) -> None:
    (kept.state / "contents" / "ab" / "stuck").mkdir(parents=True)
    kept.age()
    assert await kept.keeper.keep() == AGAIN_SECONDS
    assert kept.told.files == {}


async def test_what_a_diff_compares_is_known_when_its_snapshots_are_gone(
    kept: Kept, empty: World
) -> None:
    refs = (await kept.manifest(b"before"), await kept.manifest(b"after"))
    evidence = RecordedEvidence(empty.store, kept.manifests)
    told = await evidence.manifests_of(replace(DIFF, manifests=refs))
    assert told == (await kept.manifests.get(refs[0]), await kept.manifests.get(refs[1]))
    with pytest.raises(NotFound):
        await evidence.manifests_of(DIFF)
    for name, ref in zip("ab", refs, strict=True):
        of = snapshot(f"SNP-{name}", name=name, manifest_ref=ref)
        await empty.store.submit(lambda tx, of=of: tx.snapshots.add(of))  # type: ignore[misc]
    assert await evidence.manifests_of(DIFF) == told
