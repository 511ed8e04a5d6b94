"""What converging writes: once, compared and set, with its event."""

from __future__ import annotations

import pytest

from scheduler.control.effects import overlay_name
from scheduler.control.records import Records
from scheduler.errors import Conflict, HostRefused
from scheduler.lifecycle.steps import Become, Clear, ConditionKind, Note
from scheduler.model import (
    AddressReport,
    Allocation,
    AllocationState,
    IpSource,
    Phase,
    Sandbox,
    SandboxState,
    Volume,
    VolumeRole,
    VolumeState,
)
from tests.control.world import World

RUNNING = Become(state=SandboxState.RUNNING, reason_code="running", reason_message="it runs")
STARTING = Become(state=SandboxState.STARTING, reason_code="starting", reason_message="it starts")


def planned(world: World, sandbox: Sandbox, name: str, role: VolumeRole) -> Volume:
    return Volume(
        owner=sandbox.id,
        host_id=sandbox.host_id or "",
        pool="default",
        name=name,
        role=role,
        created_at=world.clock.now(),
    )


async def test_a_phase_is_committed_once_and_lists_its_volumes(there: World) -> None:
    made = await there.create()
    overlay = planned(there, made, overlay_name(made.id), VolumeRole.OVERLAY)
    begun = await there.records.begin(made, Phase.BUILD, volumes=(overlay,))
    again = await there.records.begin(begun, Phase.BUILD, volumes=(overlay,))

    assert again is begun
    assert (begun.phase, begun.phase_at) == (Phase.BUILD, there.clock.now())
    assert await there.volumes(made.id) == (overlay,)
    assert begun.generation == made.generation + 1


async def test_a_phase_begun_anew_lists_nothing_twice(there: World) -> None:
    made = await there.create()
    overlay = planned(there, made, overlay_name(made.id), VolumeRole.OVERLAY)
    begun = await there.records.begin(made, Phase.BUILD, volumes=(overlay,))
    started = await there.records.begin(begun, Phase.START)
    await there.records.begin(started, Phase.BUILD, volumes=(overlay,))
    assert await there.volumes(made.id) == (overlay,)


async def test_whoever_read_before_somebody_wrote_loses(there: World) -> None:
    made = await there.create()
    note = Note(kind=ConditionKind.PAUSED, message="paused")
    await there.records.note(made, note)
    stale = made
    losers = (
        there.records.begin(stale, Phase.BUILD),
        there.records.become(stale, STARTING),
        there.records.note(stale, note),
        there.records.clear(stale, Clear(kinds=(ConditionKind.PAUSED,))),
        there.records.base_seen(stale, "print"),
        there.records.built(stale, set()),
        there.records.called(stale),
    )
    for loser in losers:
        with pytest.raises(Conflict):
            await loser
    now = await there.sandbox(made.id)
    assert (now.phase, now.state, now.base_fingerprint) == (None, SandboxState.CREATED, None)
    assert [c.kind for c in now.conditions] == [ConditionKind.PAUSED]


async def test_a_refusal_belongs_to_the_record_as_it_is_now(there: World) -> None:
    made = await there.create()
    await there.records.begin(made, Phase.BUILD)
    failed = await there.records.refused(made.id, HostRefused("no"))
    assert (failed.phase, failed.attempts) == (Phase.BUILD, 1)
    assert failed.retry_at is not None


async def test_what_was_built_is_marked_and_the_rest_forgotten(there: World) -> None:
    made = await there.create()
    volumes = (
        planned(there, made, "a", VolumeRole.OVERLAY),
        planned(there, made, "b", VolumeRole.SEED),
    )
    begun = await there.records.begin(made, Phase.BUILD, volumes=volumes)
    built = await there.records.built(begun, {"a"})
    assert [(v.name, v.state) for v in await there.volumes(made.id)] == [("a", VolumeState.CREATED)]
    assert built.phase is Phase.BUILD, "kept until its state is written"


async def test_the_lease_is_set_once_and_the_allocation_activated_by_proof(there: World) -> None:
    made = await there.create(ttl_seconds=60)
    starting = await there.records.become(made, STARTING)
    assert starting.expires_at is None
    (held,) = await there.allocations(made.id)
    assert held.state is AllocationState.CLAIMED
    running = await there.records.become(starting, RUNNING)
    first = running.expires_at
    assert first is not None
    assert (first - there.clock.now()).total_seconds() == 60
    (held,) = await there.allocations(made.id)
    assert held.state is AllocationState.ACTIVE
    there.clock.advance(30)
    again = await there.records.become(running, STARTING)
    assert (await there.records.become(again, RUNNING)).expires_at == first


async def test_every_state_has_its_event(there: World) -> None:
    made = await there.create()
    starting = await there.records.become(made, STARTING)
    running = await there.records.become(starting, RUNNING)
    await there.records.note(running, Note(kind=ConditionKind.PAUSED, message="paused"))
    told = [(e.kind, e.reason_code) for e in await there.events(sandbox_id=made.id)]
    assert told == [
        ("sandbox.created", made.reason_code),
        ("sandbox.state", "starting"),
        ("sandbox.state", "running"),
        ("sandbox.condition", "running"),
    ]


async def test_an_address_is_recorded_with_who_told_it(there: World) -> None:
    made = await there.create()
    found = await there.records.address_found(
        made, AddressReport(address="192.168.122.7", source=IpSource.ARP, gateway="192.168.122.1")
    )
    assert (found.ip_address, found.ip_source) == ("192.168.122.7", IpSource.ARP)
    assert (await there.sandbox(made.id)).ip_gateway == "192.168.122.1"
    assert found.ip_seen_at == there.clock.now()


async def test_burying_releases_in_one_write_and_tells_once(there: World) -> None:
    changed: list[tuple[SandboxState, SandboxState]] = []
    released: list[tuple[str, tuple[Allocation, ...]]] = []
    records = Records(
        there.store,
        there.clock,
        changed=lambda before, after: changed.append((before.state, after.state)),
        released=lambda sandbox, freed: released.append((sandbox.id, freed)),
    )
    made = await there.create()
    volume = planned(there, made, "a", VolumeRole.OVERLAY)
    begun = await records.begin(made, Phase.BUILD, volumes=(volume,))
    held = await there.allocations(made.id)
    await records.bury(begun)

    buried = await there.sandbox(made.id)
    assert (buried.state, buried.deleted_at) == (SandboxState.DESTROYED, there.clock.now())
    assert changed == [(SandboxState.CREATED, SandboxState.DESTROYED)]
    assert released == [(made.id, held)]
    assert await there.volumes(made.id) == ()
    await there.assert_ledger()
    with pytest.raises(Conflict):
        await records.bury(begun)
