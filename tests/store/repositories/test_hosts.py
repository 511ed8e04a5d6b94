"""Hosts: edits, polls and claims write the same row without undoing each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.errors import AlreadyExists, Conflict, NotFound, StaleRevision
from scheduler.model import Breaker, HostHealth, HostState, VirtType
from scheduler.store import HostFilter, ListOptions, Store
from tests.clocks import START, ManualClock
from tests.store.samples import allocation, host, later, sandbox, volume


async def test_a_new_host_has_nothing_reserved_and_its_limits(store: Store) -> None:
    odd = replace(host(ratio_cpu=1.5, max_sandboxes=3), reserved_cpus=99, limit_cpus=99)
    stored = await store.submit(lambda tx: tx.hosts.add(odd))
    assert (stored.reserved_cpus, stored.limit_cpus, stored.limit_sandboxes) == (0, 12, 3)
    assert await store.read(lambda tx: tx.hosts.get("HST-1")) == stored
    assert await store.read(lambda tx: tx.hosts.by_name(odd.name)) == stored


async def test_unknown_and_taken_names_are_told(store: Store) -> None:
    await store.submit(lambda tx: tx.hosts.add(host(name="alpha")))
    with pytest.raises(AlreadyExists, match="host with name 'alpha'"):
        await store.submit(lambda tx: tx.hosts.add(host("HST-2", name="alpha")))
    with pytest.raises(NotFound, match="no host beta"):
        await store.read(lambda tx: tx.hosts.by_name("beta"))


async def test_hosts_are_found_by_the_machine_they_are(store: Store) -> None:
    await store.submit(lambda tx: (tx.hosts.add(host()), tx.hosts.add(host("HST-2", name="b"))))
    assert await store.read(lambda tx: tx.hosts.of_machine("m-1")) == ()
    await store.submit(lambda tx: tx.hosts.observe("HST-2", at=later(1), host_uuid="m-1"))
    (found,) = await store.read(lambda tx: tx.hosts.of_machine("m-1"))
    assert (found.id, found.host_uuid) == ("HST-2", "m-1")


async def test_an_edit_rewrites_the_limits_and_keeps_state_and_counters(
    store: Store, clock: ManualClock
) -> None:
    await store.submit(lambda tx: (tx.hosts.add(host()), tx.sandboxes.add(sandbox())))
    await store.submit(lambda tx: tx.allocations.claim(allocation()))
    now = await store.read(lambda tx: tx.hosts.get("HST-1"))
    clock.advance(1)
    wish = replace(now, ratio_cpu=2.0, reserved_cpus=0, state=HostState.DRAINED, limit_cpus=1)
    edited = await store.submit(
        lambda tx: tx.hosts.replace(wish, expected_generation=now.generation)
    )
    assert (edited.limit_cpus, edited.reserved_cpus) == (16, 2)
    assert edited.state is HostState.ACTIVE
    assert (edited.revision, edited.generation) == (2, now.generation + 1)
    assert await store.read(lambda tx: tx.hosts.get("HST-1")) == edited
    with pytest.raises(StaleRevision, match="was changed meanwhile"):
        await store.submit(lambda tx: tx.hosts.replace(now, expected_generation=now.generation))


async def test_an_edit_cannot_take_another_hosts_name(store: Store) -> None:
    await store.submit(lambda tx: (tx.hosts.add(host()), tx.hosts.add(host("HST-2", name="b"))))
    with pytest.raises(AlreadyExists, match="'b'"):
        await store.submit(lambda tx: tx.hosts.replace(host(name="b"), expected_generation=1))


async def test_upsert_ensures_the_configuration_and_nothing_else(store: Store) -> None:
    first = await store.submit(lambda tx: tx.hosts.upsert(host()))
    await store.submit(lambda tx: tx.hosts.observe("HST-1", at=later(1), health=HostHealth.UP))
    same = await store.submit(lambda tx: tx.hosts.upsert(host("HST-9", name=first.name)))
    assert (same.id, same.health, same.revision) == ("HST-1", HostHealth.UP, 1)
    changed = await store.submit(
        lambda tx: tx.hosts.upsert(host("HST-9", name=first.name, system_reserved_cpus=6))
    )
    assert (changed.id, changed.health) == ("HST-1", HostHealth.UP)
    assert (changed.limit_cpus, changed.revision) == (2, 2)


async def test_a_poll_writes_facts_and_the_limits_that_follow(store: Store) -> None:
    await store.submit(lambda tx: (tx.hosts.add(host()), tx.sandboxes.add(sandbox())))
    await store.submit(lambda tx: tx.allocations.claim(allocation()))
    seen = await store.submit(
        lambda tx: tx.hosts.observe(
            "HST-1",
            at=later(10),
            health=HostHealth.UP,
            total_cpus=4,
            unmanaged_cpus=1,
            unmanaged_memory_mb=5536,
            proven_virt_type=VirtType.QEMU,
            observed_networks=("default",),
            observed_at=later(10),
        )
    )
    assert (seen.limit_cpus, seen.limit_memory_mb, seen.reserved_cpus) == (3, 60_000, 2)
    assert (seen.revision, seen.updated_at) == (1, later(10))
    assert await store.read(lambda tx: tx.hosts.get("HST-1")) == seen
    with pytest.raises(NotFound):
        await store.submit(lambda tx: tx.hosts.observe("HST-9", at=START, total_cpus=1))


async def test_i1_a_limit_that_shrinks_below_the_claims_refuses_growth(store: Store) -> None:
    await store.submit(lambda tx: tx.hosts.add(host()))
    await store.submit(lambda tx: [tx.sandboxes.add(sandbox(f"SBX-{n}")) for n in range(3)])
    await store.submit(lambda tx: tx.allocations.claim(allocation("SBX-0")))
    await store.submit(lambda tx: tx.hosts.observe("HST-1", at=START, total_cpus=1))
    with pytest.raises(Conflict) as refused:
        await store.submit(lambda tx: tx.allocations.claim(allocation("SBX-1", vcpus=0)))
    assert refused.value.details["filter"] == "cpu"
    still = await store.read(lambda tx: tx.allocations.of_host("HST-1"))
    assert [one.sandbox_id for one in still] == ["SBX-0"]


async def test_breakers_are_written_beside_everything_else(store: Store) -> None:
    before = await store.submit(lambda tx: tx.hosts.add(host()))
    breaker = Breaker(reason="no space", since=START, retry_at=later(60))
    after = await store.submit(lambda tx: tx.hosts.set_breakers("HST-1", (breaker,), at=later(1)))
    assert after == replace(before, breakers=(breaker,), updated_at=later(1), generation=2)
    assert await store.read(lambda tx: tx.hosts.get("HST-1")) == after


async def test_i13_the_operators_will_changes_with_an_event(store: Store) -> None:
    await store.submit(lambda tx: tx.hosts.add(host()))
    cordoned = await store.submit(
        lambda tx: tx.hosts.set_state(
            "HST-1",
            HostState.ACTIVE,
            HostState.CORDONED,
            at=later(1),
            actor="uid:0",
            reason="disk swap",
        )
    )
    assert (cordoned.state, cordoned.state_reason) == (HostState.CORDONED, "disk swap")
    assert (cordoned.revision, cordoned.generation) == (2, 2)
    with pytest.raises(Conflict, match="is CORDONED, not ACTIVE"):
        await store.submit(
            lambda tx: tx.hosts.set_state(
                "HST-1", {HostState.ACTIVE}, HostState.DRAINING, at=later(2)
            )
        )
    (event,) = await store.read(lambda tx: tx.events.find())
    assert (event.kind, event.actor, event.message) == ("host.state", "uid:0", "disk swap")
    assert event.evidence == {"from": "ACTIVE", "to": "CORDONED"}


async def test_a_host_with_anything_of_ours_cannot_be_removed(store: Store) -> None:
    box = sandbox(host_id="HST-1")
    await store.submit(lambda tx: (tx.hosts.add(host()), tx.sandboxes.add(box)))
    await store.submit(lambda tx: (tx.allocations.claim(allocation()), tx.volumes.add(volume())))
    with pytest.raises(Conflict, match=r"1 allocation\(s\) of ours"):
        await store.submit(lambda tx: tx.hosts.remove("HST-1"))
    await store.submit(lambda tx: tx.allocations.release("SBX-1", "HST-1"))
    with pytest.raises(Conflict, match=r"1 sandbox\(s\) of ours"):
        await store.submit(lambda tx: tx.hosts.remove("HST-1"))
    await store.submit(lambda tx: tx.sandboxes.bury("SBX-1", at=later(1)))
    with pytest.raises(Conflict, match=r"1 volume\(s\) of ours"):
        await store.submit(lambda tx: tx.hosts.remove("HST-1"))
    await store.submit(lambda tx: tx.volumes.remove("HST-1", "default", "sbx-1.qcow2"))
    await store.submit(lambda tx: tx.hosts.remove("HST-1"))
    with pytest.raises(NotFound):
        await store.read(lambda tx: tx.hosts.get("HST-1"))


async def test_find_filters_and_orders(store: Store) -> None:
    await store.submit(
        lambda tx: [
            tx.hosts.add(host("HST-1", name="c", labels={"rack": "1"})),
            tx.hosts.add(host("HST-2", name="a", labels={"rack": "2"}, created_at=later(1))),
            tx.hosts.add(host("HST-3", name="b", state=HostState.CORDONED, created_at=later(2))),
        ]
    )

    async def ids(filter: HostFilter | None = None, **options: object) -> list[str]:
        asked = ListOptions(**options)  # type: ignore[arg-type]
        page = await store.read(lambda tx: tx.hosts.find(filter, asked))
        return [one.id for one in page.items]

    assert await ids() == ["HST-3", "HST-2", "HST-1"]
    assert await ids(order_by="name", asc=True) == ["HST-2", "HST-3", "HST-1"]
    assert await ids(HostFilter(labels={"rack": "2"})) == ["HST-2"]
    assert await ids(HostFilter(state=HostState.ACTIVE)) == ["HST-2", "HST-1"]
    assert await ids(HostFilter(health=HostHealth.DOWN)) == []
    everything = await store.read(lambda tx: tx.hosts.all())
    assert [one.name for one in everything] == ["a", "b", "c"]
