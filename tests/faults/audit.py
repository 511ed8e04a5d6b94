"""What must be true of a cluster at rest, whatever happened before: nothing leaked, lost, doubled.

The database is read beside the daemon and the hosts over connections of an operator's own, so that
nothing is believed because the daemon says so. All faults are returned, not only the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from scheduler.model import (
    DesiredState,
    Event,
    HostHealth,
    HostResources,
    Sandbox,
    SandboxState,
    VolumeState,
)
from tests.faults.books import Books, read_books
from tests.fleet.furniture import FOREIGN, FOREIGN_VOLUME, IMAGE, POOL

if TYPE_CHECKING:
    from tests.faults.cluster import Cluster
    from tests.faults.lands import ProvenHost

BIRTHS = frozenset({"sandbox.created", "sandbox.adopted", "sandbox.rebuilt", "sandbox.reaped"})
"""How a record may come to be."""
FOREIGN_RUNNING = (FOREIGN, True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is on one host: domains by UUID with name and whether they run, and volumes."""

    domains: Mapping[str, tuple[str, bool]]
    volumes: frozenset[str]


def look_at(cluster: Cluster, host: ProvenHost) -> Ground:
    """Look at a host with an operator's eyes."""
    with cluster.libvirt(host) as connection:
        return Ground(
            domains={
                domain.UUIDString(): (domain.name(), bool(domain.isActive()))
                for domain in connection.listAllDomains()
            },
            volumes=frozenset(
                volume.name()
                for volume in connection.storagePoolLookupByName(POOL).listAllVolumes()
            ),
        )


def faults(cluster: Cluster) -> list[str]:
    """Return everything that is not as it must be of a cluster at rest; empty when all is well."""
    books = read_books(cluster.store_config)
    grounds = {host.name: look_at(cluster, host) for host in cluster.hosts}
    found = [*_restless(books), *_ledger(books), *_journal(books, cluster)]
    for host in books.hosts:
        if host.name in grounds:
            found += _host(books, host, grounds[host.name])
    return found


def _restless(books: Books) -> Iterator[str]:
    """Nothing is under way any more."""
    for one in books.live.values():
        settled = one.state in (SandboxState(one.desired_state.value), SandboxState.ERROR)
        if one.desired_state is DesiredState.DESTROYED or not settled:
            yield f"{one.id} is {one.state}, wanted {one.desired_state}: {one.reason_message}"
    if books.drains:
        yield f"{books.drains} drains are under way"
    for event in books.events:
        if event.kind.endswith(".parked"):
            yield f"a bug: {event.evidence}"


def _ledger(books: Books) -> Iterator[str]:
    """Each live sandbox holds one allocation where it is, nobody else any (I2); sums are sums."""
    held = Counter((one.sandbox_id, one.host_id) for one in books.allocations)
    due = Counter((one.id, one.host_id or "") for one in books.live.values())
    if held != due:
        yield f"allocations {dict(held)} for live sandboxes {dict(due)}"
    for discrepancy in books.miscounted:
        yield f"counters: {discrepancy}"
    for host in books.hosts:
        rows = [one.resources for one in books.allocations if one.host_id == host.id]
        sums = tuple(
            sum(getattr(row, name) for row in rows) for name in ("vcpus", "memory_mb", "storage_mb")
        )
        told = (host.reserved_cpus, host.reserved_memory_mb, host.reserved_storage_mb)
        if sums != told:
            yield f"{host.name} counts {told}, its allocations are {sums}"


def _host(books: Books, host: HostResources, ground: Ground) -> Iterator[str]:
    """A host holds exactly what is recorded there, and what was never ours."""
    if host.health is not HostHealth.UP:
        yield f"{host.name} is {host.health}: {host.health_reason}"
    if FOREIGN_RUNNING not in ground.domains.values():
        yield f"{host.name} lost what is not ours: {ground.domains}"
    here = [one for one in books.live.values() if one.host_id == host.id]
    failed = {one.id for one in here if one.state is SandboxState.ERROR}
    yield from _domains(here, failed, host.name, ground)
    listed = [one for one in books.volumes if one.host_id == host.id]
    names = {one.name for one in listed} | {IMAGE, FOREIGN_VOLUME}
    planned = {one.name for one in listed if one.state is VolumeState.PLANNED}
    failed_volumes = {one.name for one in listed if one.owner in failed}
    if not names - planned - failed_volumes <= ground.volumes <= names:
        yield f"{host.name} holds {sorted(ground.volumes ^ names)} more or less than is listed"
    yield from (f"volume {name} is only planned" for name in planned & ground.volumes)


def _domains(
    here: Iterable[Sandbox], failed: Collection[str], host: str, ground: Ground
) -> Iterator[str]:
    due = {one.domain_uuid: one for one in here}
    for uuid, (name, runs) in ground.domains.items():
        sandbox = due.pop(uuid, None)
        if sandbox is None and (name, runs) != FOREIGN_RUNNING:
            yield f"{host} has domain {name} of nobody"
        elif sandbox is not None and name != sandbox.sandbox_name:
            yield f"the domain of {sandbox.id} is named {name}"
        elif sandbox is not None and runs is not (sandbox.state is SandboxState.RUNNING):
            yield f"the domain of {sandbox.id} {'runs' if runs else 'is off'}: {sandbox.state}"
    for sandbox in due.values():
        if sandbox.id not in failed:
            yield f"{sandbox.id} has no domain on {host}: {sandbox.state}"


def _journal(books: Books, cluster: Cluster) -> Iterator[str]:
    """Events are in order, each change of state once, from what was to what is (I13)."""
    numbers = [event.seq for event in books.events]
    if sorted(set(numbers)) != numbers:
        yield "events are out of order"
    if cluster.store_config.sqlite_path and any(b != a + 1 for a, b in pairwise(numbers)):
        yield "events are missing"
    orphans = {
        event.message
        for event in books.events
        if event.reason_code == "unlisted_volume" and FOREIGN_VOLUME not in event.message
    }
    yield from (f"an orphan: {message}" for message in orphans)
    of_sandboxes = sorted(
        (event for event in books.events if event.sandbox_id), key=lambda e: (e.sandbox_id, e.seq)
    )
    known = {one.id: one for one in books.sandboxes}
    for sandbox_id, events in groupby(of_sandboxes, key=lambda event: event.sandbox_id or ""):
        yield from _life(known.get(sandbox_id), list(events))


def _life(sandbox: Sandbox | None, events: list[Event]) -> Iterator[str]:
    if sandbox is None:
        yield f"{events[0].sandbox_id} has events and no record"
        return
    births = [event.kind for event in events if event.kind in BIRTHS]
    if len(births) != 1:
        yield f"{sandbox.id} began {len(births)} times: {births}"
    changes = [event for event in events if event.kind == "sandbox.state"]
    created = "sandbox.created" in births
    state = SandboxState.CREATED.value if created else None
    for event in changes:
        if state is not None and event.evidence["from"] != state:
            yield f"{sandbox.id}: {event.evidence} after {state}"
        state = str(event.evidence["to"])
    if state not in (None, sandbox.state.value):
        yield f"{sandbox.id} is {sandbox.state} without an event, last {state}"
