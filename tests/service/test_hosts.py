"""Hosts join, change and leave; the configuration file wins for what it names."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scheduler.errors import AlreadyExists, Conflict, Invalid, NotFound, SetInFile, StaleRevision
from scheduler.model import Event, HostResources, HostState, Transport, Volume, VolumeRole
from scheduler.service.intents import Intent
from scheduler.store import EventFilter
from scheduler.validation.hosts import AddHost, EditHost
from tests.service.planes import ME, Plane

INTENT: Intent[HostResources] = Intent(actor=ME)
BETA = AddHost(name="beta", transport="ssh", address="beta.example.org", labels={"zone": "b"})


async def kinds(cloud: Plane, host: HostResources) -> list[str]:
    """Return what happened to a host, in order."""
    return [event.kind for event in await events(cloud, host)]


async def events(cloud: Plane, host: HostResources) -> Sequence[Event]:
    return await cloud.services.events.find(0, EventFilter(host_id=host.id), 100)


async def test_a_host_joins_with_its_event_and_is_looked_at(cloud: Plane) -> None:
    host = await cloud.services.hosts.add(BETA, INTENT)

    assert (host.transport, host.address, host.state) == (
        Transport.SSH,
        "beta.example.org",
        HostState.ACTIVE,
    )
    assert await kinds(cloud, host) == ["host.added"]
    assert cloud.woken[-1] == host.id
    assert cloud.fleet.record(host.id) == host
    with pytest.raises(AlreadyExists):
        await cloud.services.hosts.add(BETA, INTENT)


async def test_an_edit_changes_only_what_is_given(cloud: Plane) -> None:
    before = await cloud.services.hosts.get("alpha")

    edited = await cloud.services.hosts.edit("alpha", EditHost(ratio_cpu=2.0), INTENT)
    same = await cloud.services.hosts.edit("alpha", EditHost(ratio_cpu=2.0), INTENT)

    assert (edited.limit_cpus, edited.uri, edited.revision) == (16, before.uri, before.revision + 1)
    assert same == edited, "an edit that changes nothing writes nothing"
    assert (await kinds(cloud, edited))[-1] == "host.edited"
    assert cloud.fleet.record(edited.id).limit_cpus == 16


async def test_an_edit_never_makes_a_host_unreachable(cloud: Plane) -> None:
    with pytest.raises(Invalid):
        await cloud.services.hosts.edit("alpha", EditHost(uri=None), INTENT)
    with pytest.raises(Invalid):
        await cloud.services.hosts.edit("alpha", EditHost(transport="unix"), INTENT)


async def test_the_pool_of_a_host_that_holds_something_stays(cloud: Plane) -> None:
    made = await cloud.create()
    with pytest.raises(Conflict, match="still holds 1 sandboxes"):
        await cloud.services.hosts.edit("alpha", EditHost(pool="fast"), INTENT)
    assert (await cloud.services.hosts.edit("alpha", EditHost(pool="default"), INTENT)).pool
    await cloud.bury(made)
    assert (await cloud.services.hosts.edit("alpha", EditHost(pool="fast"), INTENT)).pool == "fast"


async def test_an_edit_of_another_revision_is_refused(cloud: Plane) -> None:
    host = await cloud.services.hosts.get("alpha")
    await cloud.services.hosts.edit("alpha", EditHost(pool="fast"), INTENT)

    with pytest.raises(StaleRevision):
        await cloud.services.hosts.edit(
            "alpha", EditHost(pool="slow"), INTENT, expected_revision=host.revision
        )
    with pytest.raises(StaleRevision):
        await cloud.services.hosts.remove("alpha", INTENT, expected_revision=host.revision)


async def test_the_file_adds_what_is_missing_and_wins_for_what_it_names(cloud: Plane) -> None:
    hosts = cloud.services.hosts
    await hosts.edit("alpha", EditHost(labels={"by": "hand"}), INTENT)
    in_file = AddHost(
        name="alpha", transport="test", uri="test:///default", labels={"by": "file"}, ratio_cpu=3.0
    )

    alpha, beta = await hosts.ensure_from_file([in_file, BETA])
    again = await hosts.ensure_from_file([in_file, BETA])

    assert (alpha.labels, alpha.ratio_cpu, beta.name) == ({"by": "file"}, 3.0, "beta")
    assert again == (alpha, beta), "a second start changes nothing"
    with pytest.raises(SetInFile) as refused:
        await hosts.edit("alpha", EditHost(ratio_cpu=1.0, pool="fast"), INTENT)
    assert refused.value.details["fields"] == ["ratio_cpu"]
    assert (await hosts.edit("alpha", EditHost(pool="fast"), INTENT)).pool == "fast"
    with pytest.raises(SetInFile):
        await hosts.remove("beta", INTENT)
    with pytest.raises(SetInFile):
        await hosts.removable("beta")


async def test_the_file_changes_no_pool_in_which_something_lies(cloud: Plane) -> None:
    """As an edit does not: what is there would be looked for in another pool."""
    made = await cloud.create()
    wanted = AddHost(
        name="alpha", transport="test", uri="test:///default", pool="fast", ratio_cpu=3.0
    )

    [alpha] = await cloud.services.hosts.ensure_from_file([wanted])

    assert (alpha.pool, alpha.ratio_cpu) == ("default", 3.0), "all else is as the file says"
    told = [one for one in await events(cloud, alpha) if one.kind == "host.pool_kept"]
    assert "pool default stays and is not fast" in told[0].message
    assert told[0].evidence["sandboxes"] == [made.id]

    await cloud.bury(made)
    [alpha] = await cloud.services.hosts.ensure_from_file([wanted])
    assert alpha.pool == "fast"


async def test_the_file_may_make_a_host_local_again(cloud: Plane) -> None:
    await cloud.services.hosts.add(BETA, INTENT)
    wanted = AddHost(name="beta", transport="unix", address=None)

    [beta] = await cloud.services.hosts.ensure_from_file([wanted])

    assert (beta.transport, beta.address) == (Transport.UNIX, "localhost")


async def test_cordoning_is_told_and_undone(cloud: Plane) -> None:
    hosts = cloud.services.hosts
    cordoned = await hosts.cordon("alpha", "new disk", INTENT)
    assert (cordoned.state, cordoned.state_reason) == (HostState.CORDONED, "new disk")
    assert await hosts.cordon("alpha", "again", INTENT) == cordoned

    active = await hosts.uncordon("alpha", "", INTENT)

    assert active.state is HostState.ACTIVE
    assert (await kinds(cloud, active))[-2:] == ["host.state", "host.state"]


async def test_a_host_leaves_only_when_nothing_of_ours_is_there(cloud: Plane) -> None:
    made = await cloud.create()
    host = await cloud.services.hosts.get("alpha")
    with pytest.raises(Conflict, match="1 sandboxes"):
        await cloud.services.hosts.remove("alpha", INTENT)
    await cloud.bury(made)
    volume = Volume(
        owner=made.id,
        host_id=host.id,
        pool="default",
        name="left.qcow2",
        role=VolumeRole.OVERLAY,
        created_at=cloud.clock.now(),
    )
    await cloud.store.submit(lambda tx: tx.volumes.add(volume))
    with pytest.raises(Conflict, match="1 volumes"):
        await cloud.services.hosts.removable("alpha")
    await cloud.store.submit(lambda tx: tx.volumes.remove(host.id, "default", "left.qcow2"))

    assert (await cloud.services.hosts.removable("alpha")).id == host.id
    removed = await cloud.services.hosts.remove("alpha", INTENT)

    assert removed.state is HostState.REMOVING
    assert (await kinds(cloud, host))[-2:] == ["host.state", "host.removed"]
    assert cloud.fleet.hosts() == []
    with pytest.raises(NotFound):
        await cloud.services.hosts.get("alpha")


async def test_a_host_stays_while_a_live_sandbox_says_that_it_is_there(cloud: Plane) -> None:
    made = await cloud.create()
    host = await cloud.services.hosts.get("alpha")
    await cloud.store.submit(lambda tx: tx.allocations.release(made.id, host.id))
    with pytest.raises(Conflict, match="1 sandboxes and 0 volumes") as refused:
        await cloud.services.hosts.remove("alpha", INTENT)
    assert refused.value.details["sandboxes"] == [made.id]


async def test_a_host_that_is_leaving_is_not_brought_back(cloud: Plane) -> None:
    host = await cloud.services.hosts.get("alpha")
    await cloud.store.submit(
        lambda tx: tx.hosts.set_state(
            host.id, HostState.ACTIVE, HostState.REMOVING, at=cloud.clock.now()
        )
    )
    with pytest.raises(Conflict, match="REMOVING"):
        await cloud.services.hosts.uncordon("alpha", "", INTENT)
    assert (await cloud.services.hosts.remove("alpha", INTENT)).id == host.id
