"""Sandboxes are created whole or not at all, and wishes are guarded."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.errors import (
    AlreadyExists,
    CapacityExhausted,
    Conflict,
    ConstraintImpossible,
    Invalid,
    NotFound,
    QuotaExceeded,
    SandboxdError,
)
from scheduler.model import DesiredState, HostResources, OnExpire, Resources, Sandbox, SandboxState
from scheduler.service.intents import Intent
from scheduler.store import EventFilter
from tests.clocks import START, ManualClock
from tests.service.planes import ME, TERMS, Plane, database, plane, wanted, with_quota
from tests.waits import until

INTENT: Intent[Sandbox] = Intent(actor=ME)


async def test_a_creation_writes_everything_at_once(cloud: Plane) -> None:
    sandbox = await cloud.create(sandbox_name="box", labels={"team": "ml"}, ttl_seconds=60)

    stored = await cloud.store.read(lambda tx: tx.sandboxes.get(sandbox.id))
    held = await cloud.store.read(lambda tx: tx.allocations.of_sandbox(sandbox.id))
    decision = await cloud.services.sandboxes.decision("box")
    events = await cloud.services.events.find(0, EventFilter(sandbox_id=sandbox.id), 10)
    assert stored == sandbox
    assert (sandbox.state, sandbox.desired_state) == (SandboxState.CREATED, DesiredState.RUNNING)
    assert (sandbox.vcpus, sandbox.memory_mb, sandbox.storage_mb) == (2, 2048, 10240)
    assert (sandbox.host_name, sandbox.network, sandbox.expires_at) == ("alpha", "default", None)
    # 128 + 16 a vCPU + 2048/64 MiB of overhead.
    assert [(a.vcpus, a.memory_mb, a.storage_mb) for a in held] == [(2, 2048 + 192, 10240)]
    assert (decision.outcome, decision.host_name) == ("placed", "alpha")
    assert [(e.kind, e.actor) for e in events] == [("sandbox.created", ME)]
    assert cloud.woken[-1] == sandbox.id


async def test_defaults_are_told(cloud: Plane) -> None:
    sandbox = await cloud.create()

    assert sandbox.sandbox_name == sandbox.id.lower()
    assert sandbox.job_id.startswith("JOB-")
    assert sandbox.on_expire is OnExpire.DESTROY
    assert sandbox.mac is not None
    assert sandbox.mac.startswith("52:54:00:")


async def test_one_that_is_not_to_start_is_meant_to_be_stopped(cloud: Plane) -> None:
    sandbox = await cloud.create(auto_start=False)

    assert sandbox.desired_state is DesiredState.STOPPED


async def test_ten_find_room_and_ninety_are_refused_with_reasons(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with plane(database(tmp_path), clock) as cloud:
        host = await cloud.add_host("alpha", cpus=20)
        results = await asyncio.gather(
            *(cloud.create() for _ in range(100)), return_exceptions=True
        )

        made = [result for result in results if isinstance(result, Sandbox)]
        refused = [result for result in results if isinstance(result, CapacityExhausted)]
        after = await cloud.store.read(lambda tx: tx.hosts.get(host.id))
        held = await cloud.store.read(lambda tx: tx.allocations.of_host(host.id))
        assert (len(made), len(refused)) == (10, 90)
        assert (after.reserved_cpus, after.reserved_sandboxes, len(held)) == (20, 10, 10)
        assert all(error.details["refusals"] == {"cpu": 1} for error in refused)
        assert len({error.details["decision_id"] for error in refused}) == 90


async def test_a_stale_memory_never_oversells(cloud: Plane) -> None:
    host = cloud.fleet.hosts()[0]
    # Another writer than this view: the room is gone, and memory does not know.
    for _ in range(4):
        await cloud.create(vcpus=2)
    cloud.fleet.put(host)

    with pytest.raises(CapacityExhausted):
        await cloud.create()
    after = await cloud.store.read(lambda tx: tx.hosts.get(host.id))
    assert after.reserved_cpus == after.limit_cpus == 8


async def test_a_stale_memory_never_refuses_what_has_room(cloud: Plane, clock: ManualClock) -> None:
    made = [await cloud.create() for _ in range(4)]
    await cloud.bury(made[0])
    clock.advance(5)

    assert (await cloud.create()).host_name == "alpha"


async def test_requests_decided_at_once_spread(cloud: Plane) -> None:
    await cloud.add_host("beta")

    made = await asyncio.gather(*(cloud.create() for _ in range(8)))

    assert sorted(str(sandbox.host_name) for sandbox in made) == ["alpha"] * 4 + ["beta"] * 4


async def test_a_refusal_is_stored_and_explains_itself(cloud: Plane) -> None:
    with pytest.raises(ConstraintImpossible) as refused:
        await cloud.create(vcpus=9)

    decision_id = str(refused.value.details["decision_id"])
    decision = await cloud.services.placements.decision(decision_id)
    assert (decision.outcome, decision.sandbox_id) == ("constraint_impossible", None)
    assert decision.refusals == {"cpu": 1}
    assert "alpha" in refused.value.message
    assert await cloud.store.read(lambda tx: tx.sandboxes.live()) == ()


async def test_a_preview_changes_nothing(cloud: Plane) -> None:
    before = await cloud.services.events.latest()
    decision = await cloud.services.sandboxes.preview(wanted())

    assert decision.host_name == "alpha"
    with pytest.raises(ConstraintImpossible) as refused:
        await cloud.services.sandboxes.preview(wanted(host="nowhere"))
    assert "decision_id" not in refused.value.details
    assert await cloud.services.events.latest() == before


async def test_a_name_is_unique_among_the_living(cloud: Plane) -> None:
    first = await cloud.create(sandbox_name="box")

    with pytest.raises(AlreadyExists, match="box"):
        await cloud.create(sandbox_name="box")
    free = cloud.fleet.hosts()[0].free
    assert free.vcpus == 6, "a refused creation must give its charge back"
    await cloud.bury(first)
    assert (await cloud.create(sandbox_name="box")).id != first.id


async def test_a_group_shares_no_host(cloud: Plane) -> None:
    await cloud.create(anti_affinity_group="db")

    with pytest.raises(CapacityExhausted, match="anti_affinity"):
        await cloud.create(anti_affinity_group="db")
    await cloud.add_host("beta")
    assert (await cloud.create(anti_affinity_group="db")).host_name == "beta"


async def test_a_quota_holds_against_concurrent_requests(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with plane(database(tmp_path), clock, terms=with_quota(3)) as cloud:
        await cloud.add_host("alpha", cpus=64)
        results = await asyncio.gather(*(cloud.create() for _ in range(10)), return_exceptions=True)
        other = await cloud.create(agent_id="agent-2")

        refused = [result for result in results if isinstance(result, SandboxdError)]
        assert len(refused) == 7
        assert {type(error) for error in refused} == {QuotaExceeded}
        assert len(await cloud.store.read(lambda tx: tx.sandboxes.live())) == 4
        assert other.agent_id == "agent-2"


async def test_the_longest_ttl_is_a_maximum_and_the_default(
    tmp_path: Path, clock: ManualClock
) -> None:
    terms = replace(TERMS, max_ttl_seconds=100)
    async with plane(database(tmp_path), clock, terms=terms) as cloud:
        await cloud.add_host("alpha")
        with pytest.raises(Invalid) as refused:
            await cloud.create(ttl_seconds=101)
        assert list(refused.value.details) == ["ttl_seconds"]
        assert (await cloud.create()).ttl_seconds == 100


async def test_a_cordon_and_creations_never_cross(cloud: Plane) -> None:
    async def cordon() -> None:
        await cloud.services.hosts.cordon("alpha", "", Intent(actor=ME))

    results = await asyncio.gather(
        cloud.create(), cordon(), *(cloud.create() for _ in range(3)), return_exceptions=True
    )

    made = [result for result in results if isinstance(result, Sandbox)]
    refused = [result for result in results if isinstance(result, CapacityExhausted)]
    events = await cloud.services.events.find(0, EventFilter(), 100)
    kinds = [event.kind for event in events]
    cordoned_at = kinds.index("host.state")
    assert len(made) + len(refused) == 4
    assert "sandbox.created" not in kinds[cordoned_at:]
    with pytest.raises(CapacityExhausted, match="state"):
        await cloud.create()


async def test_a_host_that_is_removed_after_it_was_chosen_is_chosen_no_more(cloud: Plane) -> None:
    await cloud.add_host("beta", cpus=64, memory_mb=655360)
    removal: Intent[HostResources] = Intent(actor=ME)
    _, made = await asyncio.gather(
        cloud.services.hosts.remove("beta", removal), cloud.create(), return_exceptions=True
    )
    assert isinstance(made, Sandbox), made
    assert made.host_name == "alpha"
    assert [host.name for host in cloud.fleet.hosts()] == ["alpha"]
    assert [host.reserved_sandboxes for host in cloud.fleet.hosts()] == [1]


async def test_start_and_stop_are_wishes(cloud: Plane) -> None:
    sandboxes = cloud.services.sandboxes
    made = await cloud.create()
    await cloud.become(made, SandboxState.STARTING, SandboxState.RUNNING)

    stopping = await sandboxes.stop(made.id, INTENT)
    again = await sandboxes.stop(made.id, INTENT)
    assert (stopping.state, stopping.desired_state) == (SandboxState.RUNNING, DesiredState.STOPPED)
    assert again == stopping, "a wish already granted changes nothing"
    await cloud.become(stopping, SandboxState.STOPPED)
    starting = await sandboxes.start(made.sandbox_name, INTENT)
    assert (starting.state, starting.desired_state) == (SandboxState.STOPPED, DesiredState.RUNNING)


async def test_starting_counts_the_provisioning_time_anew(cloud: Plane, clock: ManualClock) -> None:
    made = await cloud.create(auto_start=False)
    await cloud.become(made, SandboxState.STOPPED)
    clock.advance(7200)

    started = await cloud.services.sandboxes.start(made.id, INTENT)

    assert started.queued_at == START + timedelta(seconds=7200)


async def test_only_what_failed_is_retried(cloud: Plane) -> None:
    sandboxes = cloud.services.sandboxes
    made = await cloud.create()

    with pytest.raises(Conflict, match="has not failed"):
        await sandboxes.retry(made.id, INTENT)
    await cloud.become(made, SandboxState.ERROR)
    with pytest.raises(Conflict, match="has failed") as refused:
        await sandboxes.start(made.id, INTENT)
    assert "retry" in str(refused.value.remedy)
    retried = await sandboxes.retry(made.id, INTENT)
    assert (retried.state, retried.attempts) == (SandboxState.STARTING, 0)


async def test_what_is_being_destroyed_takes_no_other_wish(cloud: Plane) -> None:
    sandboxes = cloud.services.sandboxes
    made = await cloud.create(ttl_seconds=60)
    gone = await sandboxes.destroy(made.id, INTENT)
    assert gone.desired_state is DesiredState.DESTROYED
    assert await sandboxes.destroy(made.id, INTENT) == gone

    for wish in (sandboxes.start, sandboxes.stop, sandboxes.retry):
        with pytest.raises(Conflict, match="being destroyed"):
            await wish(made.id, INTENT)
    with pytest.raises(Conflict):
        await sandboxes.extend(made.id, 60, INTENT)
    buried = await cloud.bury(gone)
    assert await sandboxes.destroy(made.id, INTENT) == buried
    with pytest.raises(Conflict, match="destroyed"):
        await sandboxes.retry(made.id, INTENT)
    with pytest.raises(Conflict, match="destroyed"):
        await sandboxes.start(made.id, INTENT)


async def test_an_extension_never_shortens(cloud: Plane, clock: ManualClock) -> None:
    sandboxes = cloud.services.sandboxes
    made = await cloud.create(ttl_seconds=600)

    longer = await sandboxes.extend(made.id, 1200, INTENT)
    shorter = await sandboxes.extend(made.id, 60, INTENT)
    events = await cloud.services.events.find(0, EventFilter(kind="sandbox.extended"), 10)

    assert (longer.ttl_seconds, shorter.ttl_seconds) == (1200, 1200)
    assert len(events) >= 1


async def test_waiting_ends_when_the_sandbox_has_settled(cloud: Plane) -> None:
    made = await cloud.create()
    waiting = asyncio.create_task(cloud.services.sandboxes.wait(made.id, 30))
    await until(lambda: cloud.journal.waiting > 0, what="somebody waits")

    starting = await cloud.become(made, SandboxState.STARTING)
    await until(lambda: cloud.journal.waiting > 0)
    assert not waiting.done()
    await cloud.become(starting, SandboxState.RUNNING, address="192.0.2.7")

    assert (await waiting).ip_address == "192.0.2.7"


async def test_waiting_ends_when_its_time_is_over(cloud: Plane, clock: ManualClock) -> None:
    made = await cloud.create()
    waiting = asyncio.create_task(cloud.services.sandboxes.wait(made.id, 30))
    await until(lambda: cloud.journal.waiting > 0)

    clock.advance(31)

    assert (await waiting).state is SandboxState.CREATED


async def test_unknown_sandboxes_are_not_found(cloud: Plane) -> None:
    for reference in ("SBX-00000000000000000000000000", "no-such-name"):
        with pytest.raises(NotFound):
            await cloud.services.sandboxes.get(reference)


async def test_a_name_of_digits_is_a_name(cloud: Plane) -> None:
    made = await cloud.create(sandbox_name="42")

    assert await cloud.services.sandboxes.get("42") == made


async def test_holdings_tell_what_destroying_would_remove(cloud: Plane) -> None:
    made = await cloud.create()

    held = await cloud.services.sandboxes.holdings(made.id)

    assert held.sandbox == made
    assert [allocation.host_id for allocation in held.allocations] == [made.host_id]
    assert held.volumes == ()


async def test_a_group_that_memory_does_not_know_is_found_out(
    cloud: Plane, clock: ManualClock
) -> None:
    first = await cloud.create(anti_affinity_group="db")
    # As if another room had placed it: memory has the room's numbers, not the group.
    cloud.fleet.release(str(first.host_id), Resources(), "db")

    with pytest.raises(CapacityExhausted, match="taken by others"):
        await cloud.create(anti_affinity_group="db")
    clock.advance(2)
    with pytest.raises(CapacityExhausted, match="anti_affinity"):
        await cloud.create(anti_affinity_group="db")


async def test_an_empty_fleet_says_so(tmp_path: Path, clock: ManualClock) -> None:
    async with plane(database(tmp_path), clock) as cloud:
        with pytest.raises(ConstraintImpossible, match="no hosts"):
            await cloud.create()


async def test_a_sandbox_without_a_decision_says_so(cloud: Plane) -> None:
    made = await cloud.create()
    bare = replace(made, id="SBX-BARE", sandbox_name="bare", decision_id=None)
    await cloud.store.submit(lambda tx: tx.sandboxes.add(bare))

    with pytest.raises(NotFound, match="no decision"):
        await cloud.services.sandboxes.decision("bare")


async def test_starting_what_is_to_run_changes_nothing(cloud: Plane) -> None:
    made = await cloud.create()

    assert await cloud.services.sandboxes.start(made.id, INTENT) == made


async def test_a_quota_of_nothing_refuses_everything(tmp_path: Path, clock: ManualClock) -> None:
    async with plane(database(tmp_path), clock, terms=with_quota(0)) as cloud:
        await cloud.add_host("alpha")
        with pytest.raises(QuotaExceeded):
            await cloud.create()
