"""The end of every run: all faults are mended, and then all must come to rest in bounded time.

First everything still alive must settle, one guest a sandbox; then everything is destroyed, and
nothing may be left: no domain, no volume, no claim, no charge, and an audit that finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from scheduler.errors import SandboxdError
from scheduler.lifecycle.orphans import owner_named
from scheduler.model import AllocationState, DomainState, HostHealth, Sandbox, SandboxState
from scheduler.service import wishes
from scheduler.service.audits import AuditReport
from scheduler.service.intents import Intent
from tests.control.world import ME
from tests.model.books import Books
from tests.model.cluster import HOSTS, Cluster, InvariantBroken
from tests.model.frozen import kept_in_vain, under_way
from tests.model.invariants import leaks
from tests.model.machines import Slot

Unfinished = Callable[[Books], list[str]]
"""What there is still to be done, told in sentences."""

LOOK_EVERY_SECONDS = 60.0
MOVES_SECONDS = 600.0
"""In which a move ends for which there is room; any other waits for room for ever."""
WITHIN_SECONDS = 3600.0
"""Builds that were kept off every host, orphans that must age and drains all end by then."""


def come_to_rest(cluster: Cluster) -> None:
    """Mend everything and wait for the end of all work, twice."""
    for slot in cluster.rack.values():
        _mend(slot, cluster.clock.monotonic())
    cluster.daemon.life.fuse = None
    for name in HOSTS:
        cluster.run(_open(cluster, name))
    _wait(cluster, _not_up)
    cluster.sleep(LOOK_EVERY_SECONDS)
    _wait(cluster, _moving, within=MOVES_SECONDS, must=False)
    for sandbox in cluster.read(Books.read).sandboxes.values():
        cluster.run(_have_stay(cluster, sandbox.id))
    _wait(cluster, _unsettled)
    _wait(cluster, lambda _books: _listened_to(cluster))
    _check_guests(cluster)
    for complaint in kept_in_vain(cluster.read(Books.read), cluster.rack):
        raise InvariantBroken(complaint)
    for sandbox in cluster.read(Books.read).sandboxes.values():
        cluster.run(_destroy(cluster, sandbox.id))
    _wait(cluster, lambda books: list(leaks(books, cluster.rack, cluster.excused)))
    _wait(cluster, lambda _books: [f"{one} is kept" for one in cluster.spool.kept()])
    for slot in cluster.rack.values():
        _delete_reported(slot, cluster.excused)
    _wait(cluster, _not_up)
    cluster.sleep(LOOK_EVERY_SECONDS)
    report = cluster.run(cluster.daemon.services.audits.audit(30.0))
    if report is not None and not report.clean:
        raise InvariantBroken(f"all is over, and an audit finds {_found(report)}")
    cluster.check()


def _mend(slot: Slot, now: float) -> None:
    slot.put_back(now)
    slot.mend(now)
    machine = slot.machine
    machine.mend_marks()
    for domain in machine.ours():
        if domain.state is DomainState.PAUSED:
            domain.state = DomainState.RUNNING
    for uuid in machine.foreign_domains:
        del machine.fake.domains[uuid]
    machine.foreign_domains.clear()


def _delete_reported(slot: Slot, forgotten: Collection[str]) -> None:
    """Delete, as an operator would by hand, the volumes that audits report and nobody may touch."""
    volumes = slot.machine.fake.volumes
    for name in [name for name in volumes if owner_named(name) in forgotten]:
        del volumes[name]


async def _open(cluster: Cluster, host: str) -> None:
    """End what drain there is, so that what lives there may stay."""
    try:
        await cluster.daemon.services.drains.undo(host, "mended", Intent(actor=ME))
    except SandboxdError:
        return


async def _destroy(cluster: Cluster, sandbox_id: str) -> None:
    await cluster.daemon.services.sandboxes.destroy(sandbox_id, Intent(actor=ME))


async def _have_stay(cluster: Cluster, sandbox_id: str) -> None:
    """Call off a move for which there is no room."""
    try:
        await cluster.daemon.services.sandboxes.cancel_move(sandbox_id, Intent(actor=ME))
    except SandboxdError:
        return


def _wait(
    cluster: Cluster,
    unfinished: Unfinished,
    *,
    within: float = WITHIN_SECONDS,
    must: bool = True,
) -> None:
    """Let time pass, checking all the way, until nothing is unfinished, as it must be in time."""
    left: list[str] = []
    for _ in range(int(within / LOOK_EVERY_SECONDS)):
        left = unfinished(cluster.read(Books.read))
        if not left:
            return
        cluster.sleep(LOOK_EVERY_SECONDS)
        cluster.check()
    if must:
        raise InvariantBroken(f"not within {within:.0f} s: " + "; ".join(left))


def _moving(books: Books) -> list[str]:
    return [_told(one) for one in books.sandboxes.values() if one.move_asked_at is not None]


def _unsettled(books: Books) -> list[str]:
    waiting = [_told(one) for one in books.sandboxes.values() if not wishes.settled(one)]
    releasing = [
        f"{one.sandbox_id} still leaves {one.host_id}"
        for one in books.allocations.values()
        if one.state is AllocationState.RELEASING
    ]
    return [*waiting, *releasing, *under_way(books)]


def _listened_to(cluster: Cluster) -> list[str]:
    """Return the consoles that are open although nobody boots."""
    return [f"the console of {uuid} is open" for uuid in cluster.daemon.drivers.listened_to()]


def _not_up(books: Books) -> list[str]:
    hosts = [host for host in books.hosts.values() if host.health is not HostHealth.UP]
    return [f"{host.name} is {host.health}: {host.health_reason}" for host in hosts]


def _told(one: Sandbox) -> str:
    conditions = [(condition.kind, condition.message) for condition in one.conditions]
    return (
        f"{one.id} is {one.state} ({one.reason_code}: {one.reason_message}), {one.desired_state} "
        f"is wanted, phase {one.phase}, attempts {one.attempts}, retry {one.retry_at}, {conditions}"
    )


def _check_guests(cluster: Cluster) -> None:
    """Each sandbox that is said to run has one guest, where its record says."""
    for sandbox in cluster.read(Books.read).sandboxes.values():
        there = [
            (slot.host_id, domain.active)
            for slot in cluster.rack.values()
            for domain in slot.machine.ours()
            if domain.uuid == sandbox.domain_uuid
        ]
        if sandbox.state is SandboxState.RUNNING and there != [(sandbox.host_id, True)]:
            raise InvariantBroken(f"{_told(sandbox)}, and its domains are {there}")
        if sandbox.state is SandboxState.STOPPED and there != [(sandbox.host_id, False)]:
            raise InvariantBroken(f"{_told(sandbox)}, and its domains are {there}")


def _found(report: AuditReport) -> str:
    found = [*report.findings, *report.orphans]
    partly = [host for host in report.hosts if not host.audited or host.reason is not None]
    return "; ".join(map(str, [*found, *partly]))
