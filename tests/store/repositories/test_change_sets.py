"""Change sets and their verifications: states and rows are guarded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.errors import Conflict
from scheduler.model import (
    ChangeDiff,
    ChangeSet,
    ChangeSetState,
    Check,
    Diff,
    Remainder,
    Verification,
    VerificationPhase,
    VerificationResult,
)
from scheduler.store import ChangeSetFilter, Store, Transaction
from tests.clocks import START
from tests.store.samples import later, sandbox

PENDING, CHECKING, READY = (
    ChangeSetState.PENDING,
    ChangeSetState.CHECKING,
    ChangeSetState.READY,
)


def change_set(id: str, **changes: object) -> ChangeSet:
    given: dict[str, object] = {
        "id": id,
        "job_id": "JOB-1",
        "sandbox_id": "SBX-1",
        "diff_id": "DIF-1",
        "path_ansible": f"changes/JOB-1/{id}/ansible",
        "path_puppet": f"changes/JOB-1/{id}/puppet",
        "state": PENDING,
        "created_at": START,
    }
    return ChangeSet(**given | changes)  # type: ignore[arg-type]


def kept(tx: Transaction) -> None:
    tx.sandboxes.add(sandbox())
    tx.diffs.add(
        Diff(
            id="DIF-1",
            sandbox_id="SBX-1",
            from_snapshot="a",
            to_snapshot="b",
            diff_json=ChangeDiff(),
            created_at=START,
        )
    )
    tx.change_sets.add(change_set("CHG-1"))
    tx.change_sets.add(change_set("CHG-2", state=READY, created_at=later(1)))
    tx.change_sets.add(change_set("CHG-3", state=CHECKING, created_at=later(2)))


async def test_what_has_work_to_do_is_found_the_oldest_first(store: Store) -> None:
    await store.submit(kept)
    unfinished = await store.read(lambda tx: tx.change_sets.unfinished())
    assert [one.id for one in unfinished] == ["CHG-1", "CHG-3"]
    page = await store.read(lambda tx: tx.change_sets.find(ChangeSetFilter(diff_id="DIF-1")))
    assert [one.id for one in page.items] == ["CHG-3", "CHG-2", "CHG-1"]


async def test_a_change_set_goes_on_from_the_state_that_was_read(store: Store) -> None:
    await store.submit(kept)
    checked = change_set("CHG-1", state=READY, checks=(Check(tool="puppet", result="passed"),))
    await store.submit(lambda tx: tx.change_sets.replace(checked, expected=PENDING))
    assert await store.read(lambda tx: tx.change_sets.get("CHG-1")) == checked
    with pytest.raises(Conflict, match="CHG-1 is READY, not PENDING"):
        await store.submit(lambda tx: tx.change_sets.replace(checked, expected=PENDING))


async def test_a_verification_goes_on_from_the_row_that_was_read(store: Store) -> None:
    await store.submit(kept)
    begun = Verification(change_set_id="CHG-1", actor="me", started_at=START, updated_at=START)
    assert await store.read(lambda tx: tx.verifications.get("CHG-1")) is None
    await store.submit(lambda tx: tx.verifications.add(begun))
    assert await store.read(lambda tx: tx.verifications.unfinished()) == (begun,)
    done = replace(
        begun,
        phase=VerificationPhase.DONE,
        result=VerificationResult.FAILED,
        clone_id="SBX-2",
        remaining=(Remainder(kind="path", name="/a\x1b", difference="missing", reviewed=True),),
        ended_at=later(5),
    )
    written = await store.submit(lambda tx: tx.verifications.replace(done))
    assert await store.read(lambda tx: tx.verifications.get("CHG-1")) == written
    assert await store.read(lambda tx: tx.verifications.unfinished()) == ()
    with pytest.raises(Conflict, match="was changed meanwhile"):
        await store.submit(lambda tx: tx.verifications.replace(done))
