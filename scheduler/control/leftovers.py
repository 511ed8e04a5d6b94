"""Removes what destroyed sandboxes left on hosts, as far as it is recorded (see the service).

One item is one destroyed sandbox on one host. Each step asks before it acts, so that a removal cut
short is simply begun again; what cannot be proven ours stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from scheduler.clock import Clock
from scheduler.errors import HostRefused, NotFound
from scheduler.hosts.driver import HostDriver
from scheduler.model import Event, HostResources, Sandbox, Volume
from scheduler.service.leftovers import tombstone
from scheduler.store import Store, Transaction

REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leftover:
    host: HostResources
    sandbox: Sandbox
    volumes: tuple[Volume, ...]


def key_of(host_id: str, sandbox_id: str) -> str:
    """Return the name of what one sandbox left on one host."""
    return f"{host_id}/{sandbox_id}"


def sandbox_of(key: str) -> str:
    """Return the id of the sandbox that left it."""
    return key.partition("/")[2]


class Leftovers:
    """Works on one leftover at a time; `Workers` sees to it that nobody else does."""

    def __init__(
        self, store: Store, clock: Clock, *, drivers: Callable[[HostResources], HostDriver]
    ) -> None:
        self._store = store
        self._clock = clock
        self._drivers = drivers

    async def remove(self, key: str) -> None:
        """Remove domain and listed volumes, prove that they are gone, then strike them off."""
        found = await self._store.read(partial(_find, key))
        if found is None:
            return
        driver = self._drivers(found.host)
        gone = await _remove_domain(driver, found)
        await _remove_volumes(driver, found)
        if gone or found.volumes:
            await self._store.submit(lambda tx: self._strike(tx, found))

    def _strike(self, tx: Transaction, found: _Leftover) -> None:
        for volume in found.volumes:
            tx.volumes.remove(volume.host_id, volume.pool, volume.name)
        tx.events.add(
            Event(
                at=self._clock.now(),
                kind="host.orphan",
                host_id=found.host.id,
                sandbox_id=found.sandbox.id,
                reason_code=REMOVED,
                message=f"nothing is left of {found.sandbox.id} on {found.host.name}",
            )
        )


def _find(key: str, tx: Transaction) -> _Leftover | None:
    host_id, _, sandbox_id = key.partition("/")
    sandbox = tombstone(tx, sandbox_id)
    if sandbox is None:
        return None
    try:
        host = tx.hosts.get(host_id)
    except NotFound:
        return None
    volumes = tuple(v for v in tx.volumes.of_owner(sandbox_id) if v.host_id == host_id)
    return _Leftover(host=host, sandbox=sandbox, volumes=volumes)


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
