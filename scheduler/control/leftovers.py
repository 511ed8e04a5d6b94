"""Removes what sandboxes left on hosts that they are no longer on, as far as it is recorded.

One item is one sandbox on one host: a destroyed one (see the service), or one that moved because
this host failed it, whose `releasing` claim is given back once nothing is left. Each step asks
before it acts, so that a removal cut short is simply begun again; what is not proven ours stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from scheduler.clock import Clock
from scheduler.control.records import Released
from scheduler.errors import HostRefused, NotFound
from scheduler.hosts.driver import HostDriver
from scheduler.model import Allocation, AllocationState, Event, HostResources, Sandbox, Volume
from scheduler.store import Store, Transaction

REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leftover:
    host: HostResources
    sandbox: Sandbox
    volumes: tuple[Volume, ...]
    claim: Allocation | None
    """What a sandbox that moved still has claimed here."""


def key_of(host_id: str, sandbox_id: str) -> str:
    """Return the name of what one sandbox left on one host."""
    return f"{host_id}/{sandbox_id}"


def sandbox_of(key: str) -> str:
    """Return the id of the sandbox that left it."""
    return key.partition("/")[2]


class Leftovers:
    """Works on one leftover at a time; `Workers` sees to it that nobody else does."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        drivers: Callable[[HostResources], HostDriver],
        released: Released,
    ) -> None:
        self._store = store
        self._clock = clock
        self._drivers = drivers
        self._released = released

    async def remove(self, key: str) -> None:
        """Remove domain and listed volumes, prove that they are gone, then strike them off."""
        found = await self._store.read(partial(_find, key))
        if found is None:
            return
        driver = self._drivers(found.host)
        gone = await _remove_domain(driver, found)
        await _remove_volumes(driver, found)
        if found.claim is not None:
            await _prove_absent(driver, found)
        elif not gone and not found.volumes:
            return
        freed = await self._store.submit(lambda tx: self._strike(tx, found))
        if freed is not None:
            self._released(found.sandbox, (freed,))

    def _strike(self, tx: Transaction, found: _Leftover) -> Allocation | None:
        """Record that nothing is left; return the claim that this gave back.

        Nothing where the sandbox was sent back to end here: its converger proves that anew.
        """
        moved = found.claim is not None
        if moved and _releasing(tx, found.sandbox, found.host) is None:
            return None
        for volume in found.volumes:
            tx.volumes.remove(volume.host_id, volume.pool, volume.name)
        tx.events.add(
            Event(
                at=self._clock.now(),
                kind="sandbox.released" if moved else "host.orphan",
                host_id=found.host.id,
                sandbox_id=found.sandbox.id,
                reason_code=REMOVED,
                message=f"nothing is left of {found.sandbox.id} on {found.host.name}",
            )
        )
        return tx.allocations.release(found.sandbox.id, found.host.id) if moved else None


def _find(key: str, tx: Transaction) -> _Leftover | None:
    host_id, _, sandbox_id = key.partition("/")
    try:
        sandbox, host = tx.sandboxes.get(sandbox_id), tx.hosts.get(host_id)
    except NotFound:
        return None
    claim = _releasing(tx, sandbox, host)
    if sandbox.live and claim is None:
        return None
    volumes = tuple(v for v in tx.volumes.of_owner(sandbox_id) if v.host_id == host_id)
    return _Leftover(host=host, sandbox=sandbox, volumes=volumes, claim=claim)


def _releasing(tx: Transaction, sandbox: Sandbox, host: HostResources) -> Allocation | None:
    for claim in tx.allocations.of_sandbox(sandbox.id):
        if claim.host_id == host.id and claim.state is AllocationState.RELEASING:
            return claim
    return None


async def _remove_domain(driver: HostDriver, found: _Leftover) -> bool:
    """Remove the domain if it is there and its mark is this sandbox's; return whether it was."""
    uuid = found.sandbox.domain_uuid or ""
    domain = await driver.domain(uuid)
    if domain is None:
        return False
    if domain.mark is None or domain.mark.sandbox_id != found.sandbox.id:
        raise HostRefused(
            f"domain {uuid} on {found.host.name} is not {found.sandbox.id}'s any more",
            remedy="somebody replaced it; look at it on its host: it is never touched from here",
        )
    await driver.power_off(uuid)
    await driver.undefine(uuid)
    return True


async def _remove_volumes(driver: HostDriver, found: _Leftover) -> None:
    elsewhere = sorted({volume.pool for volume in found.volumes} - {found.host.pool})
    if elsewhere:
        raise HostRefused(
            f"volumes of {found.sandbox.id} are in pool {elsewhere[0]} of {found.host.name}, "
            f"whose pool is {found.host.pool} now",
            remedy=f"set the host's pool back to {elsewhere[0]} until they are gone",
        )
    names = [volume.name for volume in found.volumes]
    if not names:
        return
    await driver.ensure_pool()
    for name in names:
        await driver.delete_volume(name)
    if not await driver.volumes_absent(names):
        raise HostRefused(
            f"host {found.host.name} still holds a volume of {found.sandbox.id} after its removal",
            remedy="it is tried again; see the host's libvirt log if this stays",
        )


async def _prove_absent(driver: HostDriver, found: _Leftover) -> None:
    """Ask again for the domain: a claim is given back on proof alone (I3)."""
    if await driver.domain(found.sandbox.domain_uuid or "") is not None:
        raise HostRefused(
            f"host {found.host.name} still has the domain of {found.sandbox.id} after its removal",
            remedy="it is tried again; see the host's libvirt log if this stays",
        )
