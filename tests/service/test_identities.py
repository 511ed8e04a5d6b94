"""Another machine is taken for a host only when its own UUID is named."""

from __future__ import annotations

import pytest

from scheduler.errors import Conflict
from scheduler.model import Event, HostResources
from scheduler.service.intents import Intent
from scheduler.store import EventFilter
from tests.service.planes import ME, Plane

INTENT: Intent[HostResources] = Intent(actor=ME)
OLD = "11111111-1111-4111-8111-111111111111"
NEW = "22222222-2222-4222-8222-222222222222"
THIRD = "33333333-3333-4333-8333-333333333333"


async def answers_as(cloud: Plane, name: str, known: str, refused: str | None) -> HostResources:
    host = await cloud.services.hosts.get(name)
    return await cloud.poll(host, host_uuid=known, refused_host_uuid=refused)


async def told(cloud: Plane) -> list[Event]:
    found = await cloud.services.events.find(0, EventFilter(kind="host.identity"), 9)
    return list(found)


async def test_the_machine_that_is_named_is_the_host_from_now_on(cloud: Plane) -> None:
    await answers_as(cloud, "alpha", OLD, NEW)
    assert (await cloud.services.hosts.acceptable("alpha", NEW)).host_uuid == NEW
    assert (await cloud.services.hosts.get("alpha")).host_uuid == OLD, "looking changes nothing"

    accepted = await cloud.services.hosts.accept_identity("alpha", NEW, INTENT)
    assert (accepted.host_uuid, accepted.refused_host_uuid) == (NEW, None)
    assert cloud.fleet.record(accepted.id) == accepted
    assert cloud.woken[-1] == accepted.id, "it is looked at again"
    (event,) = await told(cloud)
    assert (event.actor, event.evidence) == (ME, {"from": OLD, "to": NEW})


async def test_asking_twice_is_harmless(cloud: Plane) -> None:
    await answers_as(cloud, "alpha", OLD, NEW)
    once = await cloud.services.hosts.accept_identity("alpha", NEW, INTENT)
    assert await cloud.services.hosts.accept_identity("alpha", NEW, INTENT) == once
    assert len(await told(cloud)) == 1


async def test_yet_another_machine_is_not_accepted(cloud: Plane) -> None:
    await answers_as(cloud, "alpha", OLD, NEW)
    with pytest.raises(Conflict, match=f"now says {NEW}, not {THIRD}") as refused:
        await cloud.services.hosts.accept_identity("alpha", THIRD, INTENT)
    assert refused.value.details == {"host_uuid": OLD, "refused_host_uuid": NEW}
    with pytest.raises(Conflict):
        await cloud.services.hosts.accept_identity("alpha", OLD, INTENT)


async def test_there_is_nothing_to_accept_of_a_host_that_is_itself(cloud: Plane) -> None:
    await answers_as(cloud, "alpha", OLD, None)
    with pytest.raises(Conflict, match="answers as the machine it is known to be"):
        await cloud.services.hosts.accept_identity("alpha", NEW, INTENT)
    assert await told(cloud) == []


async def test_one_machine_is_never_two_hosts(cloud: Plane) -> None:
    await cloud.add_host("beta")
    await answers_as(cloud, "alpha", OLD, NEW)
    await answers_as(cloud, "beta", NEW, None)
    with pytest.raises(Conflict, match="is host beta"):
        await cloud.services.hosts.accept_identity("alpha", NEW, INTENT)
