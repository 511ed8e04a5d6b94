"""The rest of the seed's aggregates, and the faults of its store that are not repeated here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.errors import AlreadyExists, Conflict, Invalid, NotFound
from scheduler.model import (
    ChangeDiff,
    CommandExecRecord,
    CommandStatus,
    InspectionStatus,
    SnapshotState,
)
from scheduler.store import ChangeSetFilter, ListOptions, Store, Transaction
from tests.clocks import START
from tests.store.samples import (
    change_set,
    command,
    diff,
    inspection,
    later,
    sandbox,
    snapshot,
    source_vm,
)


@pytest.fixture
async def lab(store: Store) -> Store:
    """Two sandboxes for things to belong to."""
    await store.submit(lambda tx: [tx.sandboxes.add(sandbox(f"SBX-{n}")) for n in (1, 2)])
    return store


async def test_snapshots_are_named_once_a_sandbox(lab: Store) -> None:
    first = snapshot(name="clean")
    await lab.submit(lambda tx: tx.snapshots.add(first))
    with pytest.raises(AlreadyExists, match="name 'clean'"):
        await lab.submit(lambda tx: tx.snapshots.add(snapshot("SNP-2", name="clean")))
    with pytest.raises(Invalid):
        await lab.submit(lambda tx: tx.snapshots.add(snapshot("SNP-3", sandbox_id="SBX-9")))
    await lab.submit(
        lambda tx: tx.snapshots.add(snapshot("SNP-2", sandbox_id="SBX-2", name="clean"))
    )
    assert await lab.read(lambda tx: tx.snapshots.by_name("SBX-1", "clean")) == first
    assert await lab.read(lambda tx: tx.snapshots.get("SNP-1")) == first
    page = await lab.read(lambda tx: tx.snapshots.find("SBX-1"))
    assert page.items == (first,)


async def test_snapshots_under_way_are_found_by_the_host_of_their_sandbox(store: Store) -> None:
    places = {"SBX-1": "HST-1", "SBX-2": "HST-2", "SBX-3": "HST-1"}
    under_way = snapshot("SNP-1", state=SnapshotState.REVERTING)
    states = {"SBX-2": SnapshotState.DELETING, "SBX-3": SnapshotState.READY}
    others = (snapshot(f"SNP-{box}", sandbox_id=box, state=state) for box, state in states.items())
    await store.submit(
        lambda tx: [tx.sandboxes.add(sandbox(id, host_id=at)) for id, at in places.items()]
    )
    await store.submit(lambda tx: [tx.snapshots.add(one) for one in (under_way, *others)])
    assert await store.read(lambda tx: tx.snapshots.unfinished_on("HST-1")) == (under_way,)
    there = await store.read(lambda tx: tx.snapshots.of_host("HST-1"))
    assert {one.sandbox_id for one in there} == {"SBX-1", "SBX-3"}
    await store.submit(lambda tx: tx.sandboxes.bury("SBX-1", at=later(1)))
    assert await store.read(lambda tx: tx.snapshots.unfinished_on("HST-1")) == ()
    (left,) = await store.read(lambda tx: tx.snapshots.of_host("HST-1"))
    assert left.sandbox_id == "SBX-3"


async def test_snapshots_are_replaced_and_removed(lab: Store) -> None:
    await lab.submit(
        lambda tx: [tx.snapshots.add(snapshot("SNP-1")), tx.snapshots.add(snapshot("SNP-2"))]
    )
    moved = replace(snapshot(), ref="layer-2", sandbox_id="SBX-2", created_at=later(9))
    stored = await lab.submit(lambda tx: tx.snapshots.replace(moved))
    assert stored == snapshot(ref="layer-2")
    with pytest.raises(AlreadyExists):
        await lab.submit(lambda tx: tx.snapshots.replace(snapshot(name="name-of-snp-2")))
    await lab.submit(lambda tx: tx.snapshots.remove("SNP-1"))
    for gone in (
        lab.read(lambda tx: tx.snapshots.get("SNP-1")),
        lab.submit(lambda tx: tx.snapshots.remove("SNP-1")),
        lab.submit(lambda tx: tx.snapshots.replace(snapshot())),
    ):
        with pytest.raises(NotFound):
            await gone


async def test_a_command_is_running_until_somebody_says_how_it_ended(lab: Store) -> None:
    how = CommandExecRecord(user="root", work_dir="/", timeout=1.5, redacted={"TOKEN": "***"})
    running = command(status=CommandStatus.RUNNING, metadata=how)
    await lab.submit(lambda tx: tx.commands.add(running))
    assert await lab.read(lambda tx: tx.commands.get("CMD-1")) == running
    ended = replace(
        running,
        command="something else",
        status=CommandStatus.EXITED,
        exit_code=3,
        stdout="a\0b",
        stdout_bytes=3,
        ended_at=later(2),
    )
    with pytest.raises(Invalid, match="not RUNNING"):
        await lab.submit(lambda tx: tx.commands.finish(running))
    stored = await lab.submit(lambda tx: tx.commands.finish(ended))
    assert stored == replace(ended, command=running.command)
    with pytest.raises(Conflict, match="ended already: EXITED"):
        await lab.submit(lambda tx: tx.commands.finish(replace(ended, status=CommandStatus.KILLED)))


async def test_a_command_that_runs_may_be_asked_to_end(lab: Store) -> None:
    running = command(status=CommandStatus.RUNNING, stdout="so far")
    await lab.submit(lambda tx: [tx.commands.add(running), tx.commands.add(command("CMD-2"))])
    assert await lab.read(lambda tx: tx.commands.running()) == (running,)
    assert await lab.read(lambda tx: tx.commands.places()) == (("SBX-1", None),)
    asked = await lab.submit(lambda tx: tx.commands.ask_kill("CMD-1", later(3)))
    assert asked == replace(running, kill_requested_at=later(3))
    assert await lab.submit(lambda tx: tx.commands.ask_kill("CMD-1", later(4))) == asked
    over = await lab.submit(lambda tx: tx.commands.ask_kill("CMD-2", later(4)))
    assert over.kill_requested_at is None
    page = await lab.read(lambda tx: tx.commands.find("SBX-1", with_output=False))
    assert {(one.id, one.stdout) for one in page.items} == {("CMD-1", ""), ("CMD-2", "")}


async def test_commands_that_run_end_last(lab: Store) -> None:
    await lab.submit(
        lambda tx: [
            tx.commands.add(command("CMD-1", ended_at=later(5), started_at=later(3))),
            tx.commands.add(command("CMD-2", started_at=later(1))),
            tx.commands.add(command("CMD-3", ended_at=later(4), started_at=later(2))),
            tx.commands.add(command("CMD-4", sandbox_id="SBX-2")),
        ]
    )

    async def ids(**asked: object) -> list[str]:
        options = ListOptions(**asked)  # type: ignore[arg-type]
        page = await lab.read(lambda tx: tx.commands.find("SBX-1", options))
        return [one.id for one in page.items]

    assert await ids() == ["CMD-1", "CMD-3", "CMD-2"]
    assert await ids(order_by="ended_at", asc=True) == ["CMD-3", "CMD-1", "CMD-2"]


async def test_the_same_diff_twice_is_the_stored_one(lab: Store) -> None:
    first = await lab.submit(lambda tx: tx.diffs.add(diff()))
    again = diff("DIF-2", diff_json=ChangeDiff(), created_at=later(1))
    assert await lab.submit(lambda tx: tx.diffs.add(again)) == first
    back = diff("DIF-3", from_snapshot="b", to_snapshot="a", created_at=later(1))
    await lab.submit(lambda tx: tx.diffs.add(back))
    assert await lab.read(lambda tx: tx.diffs.between("SBX-1", "a", "b")) == first
    assert await lab.read(lambda tx: tx.diffs.get("DIF-1")) == first
    assert (await lab.read(lambda tx: tx.diffs.find("SBX-1"))).items == (back, first)
    with pytest.raises(NotFound, match="no diff SBX-2 a b"):
        await lab.read(lambda tx: tx.diffs.between("SBX-2", "a", "b"))


async def test_the_newest_change_set_speaks_for_its_job(lab: Store) -> None:
    def unit(tx: Transaction) -> None:
        tx.diffs.add(diff())
        tx.change_sets.add(change_set("CHG-1", created_at=later(1)))
        tx.change_sets.add(change_set("CHG-2", created_at=later(2)))
        tx.change_sets.add(change_set("CHG-3", created_at=later(2)))
        tx.change_sets.add(change_set("CHG-4", job_id="JOB-2", created_at=later(9)))

    await lab.submit(unit)
    assert (await lab.read(lambda tx: tx.change_sets.by_job("JOB-1"))).id == "CHG-3"
    assert (await lab.read(lambda tx: tx.change_sets.get("CHG-1"))).created_at == later(1)
    page = await lab.read(lambda tx: tx.change_sets.find(ChangeSetFilter(job_id="JOB-1")))
    assert [one.id for one in page.items] == ["CHG-3", "CHG-2", "CHG-1"]
    assert len((await lab.read(lambda tx: tx.change_sets.find())).items) == 4
    with pytest.raises(NotFound):
        await lab.read(lambda tx: tx.change_sets.by_job("JOB-9"))


async def test_a_source_vm_keeps_its_id_and_its_age(store: Store) -> None:
    first = await store.submit(lambda tx: tx.source_vms.upsert(source_vm(host_name="")))
    assert first.host_name is None
    prepared = source_vm("SVM-9", prepared=True, created_at=later(9), updated_at=later(9))
    stored = await store.submit(lambda tx: tx.source_vms.upsert(prepared))
    assert stored == replace(prepared, id="SVM-1", created_at=START)
    assert await store.read(lambda tx: tx.source_vms.by_name("golden")) == stored
    assert await store.read(lambda tx: tx.source_vms.get("SVM-1")) == stored


async def test_a_source_vm_that_moved_on_is_not_written_over(store: Store) -> None:
    first = await store.submit(lambda tx: tx.source_vms.upsert(source_vm(host_name="a")))
    second = await store.submit(
        lambda tx: tx.source_vms.replace(replace(first, prepared=True, domain_uuid="u"))
    )
    assert (second.generation, second.prepared) == (first.generation + 1, True)
    with pytest.raises(Conflict, match="was changed meanwhile"):
        await store.submit(lambda tx: tx.source_vms.replace(replace(first, host_key="k")))
    assert await store.read(lambda tx: tx.source_vms.all()) == (second,)


async def test_an_inspection_ends_once_and_is_found_by_its_source(store: Store) -> None:
    looks = [inspection(f"INS-{number}", asked_at=later(number)) for number in (1, 2)]
    await store.submit(
        lambda tx: [tx.source_vms.upsert(source_vm()), *map(tx.inspections.add, looks)]
    )
    assert await store.read(lambda tx: tx.inspections.waiting()) == tuple(looks)
    ended = replace(
        looks[0], status=InspectionStatus.DONE, exit_code=0, stdout="\x00ok", ended_at=later(3)
    )
    await store.submit(lambda tx: tx.inspections.finish(ended))
    assert await store.read(lambda tx: tx.inspections.get("INS-1")) == ended
    with pytest.raises(Conflict, match="has ended already: it is DONE"):
        await store.submit(lambda tx: tx.inspections.finish(ended))
    assert [one.id for one in await store.read(lambda tx: tx.inspections.waiting())] == ["INS-2"]
    page = await store.read(lambda tx: tx.inspections.find("SVM-1"))
    assert [one.id for one in page.items] == ["INS-2", "INS-1"]
    assert (await store.read(lambda tx: tx.inspections.find("SVM-2"))).items == ()
    found = await store.read(lambda tx: tx.outdated.inspections(later(9), 9))
    assert [key[0] for key in found.keys] == ["INS-1"]
    assert await store.submit(lambda tx: tx.outdated.remove(found)) == 1


async def test_a_name_on_several_hosts_is_ambiguous(store: Store) -> None:
    await store.submit(
        lambda tx: [
            tx.source_vms.upsert(source_vm("SVM-1", host_name="b")),
            tx.source_vms.upsert(source_vm("SVM-2", host_name="a")),
            tx.source_vms.upsert(source_vm("SVM-3", name="abc")),
        ]
    )
    with pytest.raises(Conflict, match="several hosts have a source VM golden: a, b"):
        await store.read(lambda tx: tx.source_vms.by_name("golden"))
    assert (await store.read(lambda tx: tx.source_vms.by_name("golden", "a"))).id == "SVM-2"
    with pytest.raises(NotFound, match="no source vm c golden"):
        await store.read(lambda tx: tx.source_vms.by_name("golden", "c"))
    page = await store.read(lambda tx: tx.source_vms.find())
    assert [one.id for one in page.items] == ["SVM-3", "SVM-1", "SVM-2"]
