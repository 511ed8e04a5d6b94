"""A pair of snapshots has one diff: the same answer for the same inputs, anew for others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.errors import Conflict
from scheduler.model import (
    ChangeDiff,
    ChangeSet,
    Delta,
    Diff,
    FileChange,
    Ignored,
    Omission,
    PackageChange,
    ServiceDifference,
    ServiceState,
)
from scheduler.store import Store
from tests.changes.manifests import file, link
from tests.clocks import START
from tests.store.samples import sandbox, snapshot

WHOLE = Delta(
    files=(
        FileChange(before=None, after=file("/etc/\ud7ff", package="p", pristine=True)),
        FileChange(before=link("/etc/l", "x"), after=None, package="p"),
    ),
    packages=(PackageChange(name="p", before=None, after="1"),),
    package_manager="dpkg",
    services=(ServiceDifference(name="s", before=None, after=ServiceState(name="s")),),
    unknown=(Omission(path="/srv", reason="no time"),),
    ignored=(Ignored(rule="/tmp/**", differences=3),),
)
DIFF = Diff(
    id="DIF-1",
    sandbox_id="SBX-1",
    from_snapshot="a",
    to_snapshot="b",
    diff_json=ChangeDiff(packages_changed=(PackageChange(name="p", before="1", after="2"),)),
    created_at=START,
    noise=("/srv/**",),
    inputs="1",
    delta=WHOLE,
    manifests=("e" * 64, "f" * 64),
)


async def test_a_diff_is_stored_once_for_its_inputs(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.sandboxes.add(sandbox("SBX-1"))
        assert await tx.diffs.add(DIFF) == DIFF
        assert await tx.diffs.add(replace(DIFF, id="DIF-2", delta=None)) == DIFF
    async with store.transaction() as tx:
        assert await tx.diffs.get("DIF-1") == DIFF


async def test_other_inputs_make_it_anew_until_code_was_made_from_it(store: Store) -> None:
    other = replace(DIFF, id="DIF-2", inputs="2", noise=(), delta=Delta())
    async with store.transaction() as tx:
        await tx.sandboxes.add(sandbox("SBX-1"))
        await tx.diffs.add(DIFF)
        assert await tx.diffs.add(other) == replace(other, id="DIF-1")
        assert await tx.diffs.between("SBX-1", "a", "b") == replace(other, id="DIF-1")
        await tx.change_sets.add(
            ChangeSet(
                id="CHG-1",
                job_id="j",
                sandbox_id="SBX-1",
                diff_id="DIF-1",
                path_ansible="/a",
                path_puppet="/p",
                created_at=START,
            )
        )
        with pytest.raises(Conflict, match="DIF-1"):
            await tx.diffs.add(DIFF)


async def test_it_is_known_which_manifests_and_contents_are_needed(store: Store) -> None:
    other = Delta(files=(FileChange(before=file("/b", "c"), after=file("/b", "d")),))
    async with store.transaction() as tx:
        await tx.sandboxes.add(sandbox("SBX-1"))
        assert await tx.diffs.digests("") is None
        await tx.diffs.add(DIFF)
        await tx.diffs.add(replace(DIFF, id="DIF-2", to_snapshot="c", delta=None, manifests=()))
        await tx.diffs.add(replace(DIFF, id="DIF-3", to_snapshot="d", delta=other))
        for number, ref in enumerate(("1" * 64, "1" * 64, None)):
            await tx.snapshots.add(snapshot(f"SNP-{number}", manifest_ref=ref))
    async with store.transaction() as tx:
        assert await tx.diffs.manifest_refs() == {"e" * 64, "f" * 64}
        assert await tx.diffs.digests("") == ("DIF-1", frozenset({"a" * 64}))
        assert await tx.diffs.digests("DIF-1") == ("DIF-3", frozenset({"c" * 64, "d" * 64}))
        assert await tx.diffs.digests("DIF-3") is None
        assert await tx.snapshots.manifest_refs() == {"1" * 64}
