"""What operators tell the daemon to do with its hosts, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from scheduler.errors import SandboxdError
from scheduler.model import DrainPolicy, OnDeadline
from scheduler.service.intents import Intent
from scheduler.service.requests import AdoptOrphan, Because, DrainHost
from scheduler.service.services import Services
from tests.control.world import ME
from tests.model.cluster import Cluster

LOOK_SECONDS = 5.0

_MINE: Intent[Any] = Intent(actor=ME)

Verb = Callable[[Services, str], Awaitable[object]]


def _drain(
    policy: DrainPolicy,
    then: OnDeadline,
    deadline: int | None,
    services: Services,
    host: str,
) -> Awaitable[object]:
    request = DrainHost(policy=policy, deadline_seconds=deadline, on_deadline=then)
    return services.drains.drain(host, request, _MINE)


async def _heal(services: Services, _host: str) -> object:
    return await services.audits.heal(LOOK_SECONDS, _MINE)


async def _settle_orphan(verb: str, services: Services, host: str) -> None:
    """Adopt or reap the first orphan of a host that this may be done to."""
    for orphan in await services.orphans.find(LOOK_SECONDS):
        if orphan.host_name == host and verb in orphan.verbs and orphan.domain_uuid:
            which = host, orphan.domain_uuid
            if verb == "adopt":
                await services.orphans.adopt(*which, AdoptOrphan(force=True), _MINE)
            else:
                await services.orphans.reap(*which, Because(), _MINE)
            return


_VERBS: Mapping[str, Verb] = {
    "cordon": lambda services, host: services.hosts.cordon(host, "model", _MINE),
    "uncordon": lambda services, host: services.hosts.uncordon(host, "model", _MINE),
    "drain": partial(_drain, DrainPolicy.DESTROY, OnDeadline.KEEP, None),
    "drain by stopping": partial(_drain, DrainPolicy.STOP, OnDeadline.DESTROY, 60),
    "drain by expiry": partial(_drain, DrainPolicy.EXPIRE, OnDeadline.STOP, 30),
    "drain by moving": partial(_drain, DrainPolicy.MOVE, OnDeadline.DESTROY, 300),
    "abort the drain": lambda services, host: services.drains.abort(host, "model", _MINE),
    "undo the drain": lambda services, host: services.drains.undo(host, "model", _MINE),
    "audit and heal": _heal,
    "adopt": partial(_settle_orphan, "adopt"),
    "reap": partial(_settle_orphan, "reap"),
}
ADMINISTRATION = ("uncordon", "undo the drain", "undo the drain", "accept the machine", *_VERBS)


def administer(cluster: Cluster, host: str, act: str) -> None:
    """Give an order; one that is refused changes nothing."""
    slot, services = cluster.slots[host], cluster.daemon.services
    if act != "accept the machine":
        cluster.run(_ordered(_VERBS[act](services, host)))
        return
    cluster.run(_ordered(services.hosts.accept_identity(host, slot.machine.fake.host_uuid, _MINE)))
    record = cluster.read(lambda tx: tx.hosts.by_name(host))
    if record.host_uuid == slot.machine.fake.host_uuid:
        slot.accept(cluster.clock.monotonic())


async def _ordered(work: Awaitable[object]) -> None:
    with suppress(SandboxdError):
        await work
