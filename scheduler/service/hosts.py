"""Hosts: taken into the fleet, changed, cordoned and let go.

Hosts named in the configuration file are ensured at every start. The file wins for the fields it
names, so changing one of those here is refused instead of being undone at the next start. Only the
pool of a host that holds something stays as it is: what is there would be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from scheduler import ids
from scheduler.clock import Clock
from scheduler.errors import (
    AlreadyExists,
    Conflict,
    Invalid,
    NotFound,
    SetInFile,
    Unreadable,
)
from scheduler.model import Event, HostResources, HostState, Transport, VirtType
from scheduler.service.fleet import FleetView
from scheduler.service.host_guards import check_empty, check_state, host_at
from scheduler.service.identities import accept, acceptable
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.store import HostFilter, ListOptions, Page, Store, Transaction
from scheduler.validation.hosts import AddHost, EditHost, unreachable

FROM_FILE = "configuration"
"""The actor of what the configuration file asks for."""
_LOCAL = "localhost"

_log = structlog.get_logger("scheduler.service")


class HostService:
    """What operators do with hosts; `wake` tells the loops that a host wants a look."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        fleet: FleetView,
        journal: Journal,
        wake: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._fleet = fleet
        self._journal = journal
        self._wake = wake
        self._in_file: Mapping[str, Collection[str]] = {}

    async def ensure_from_file(self, wanted: Sequence[AddHost]) -> tuple[HostResources, ...]:
        """Add the file's hosts that are missing and give the others the fields it names.

        The pool of one that holds something of ours stays, which an event tells at every start.
        """
        self._in_file = {host.name: frozenset(host.model_fields_set) for host in wanted}
        ensured = await self._store.submit(
            lambda tx: tuple(self._ensure(tx, host) for host in wanted)
        )
        known = tuple(host for host in ensured if host is not None)
        for host in known:
            self._committed(host)
        return known

    async def add(self, request: AddHost, intent: Intent[HostResources]) -> HostResources:
        """Take a host into the fleet; raises `AlreadyExists` for a name in use."""

        def unit(tx: Transaction) -> HostResources:
            return self._add(tx, request, intent.actor)

        return self._committed(await self._store.submit(intent.once(unit)))

    async def preview(self, request: AddHost) -> HostResources:
        """Return the host that `add` would write; raises what it would raise."""

        def unit(tx: Transaction) -> HostResources:
            try:
                tx.hosts.by_name(request.name)
            except NotFound:
                return _host(request, self._clock.now())
            raise AlreadyExists(
                f"a host named {request.name} exists already", remedy="choose another name"
            )

        return await self._store.read(unit)

    async def get(self, name: str) -> HostResources:
        """Return a host by name; raises `NotFound`."""
        return await self._store.read(lambda tx: tx.hosts.by_name(name))

    async def find(self, wanted: HostFilter, options: ListOptions) -> Page[HostResources]:
        """Return a page of hosts."""
        return await self._store.read(lambda tx: tx.hosts.find(wanted, options))

    async def edit(
        self,
        name: str,
        request: EditHost,
        intent: Intent[HostResources],
        *,
        expected_revision: int | None = None,
    ) -> HostResources:
        """Change the fields that are given; raises `SetInFile`, `StaleRevision`, `Invalid`.

        The pool of a host that holds something of ours is a `Conflict`: it would be lost there.
        """
        self._refuse_file_fields(name, request.model_fields_set)

        def unit(tx: Transaction) -> HostResources:
            host, fields = host_at(tx, name, expected_revision), _fields(request)
            if fields.get("pool", host.pool) != host.pool:
                check_empty(tx, host)
            return self._changed(tx, host, fields, intent.actor)

        return self._committed(await self._store.submit(intent.once(unit)))

    async def cordon(
        self,
        name: str,
        reason: str,
        intent: Intent[HostResources],
        *,
        expected_revision: int | None = None,
    ) -> HostResources:
        """Place nothing new on a host; what is there stays."""
        change = ((HostState.ACTIVE,), HostState.CORDONED, reason or "cordoned")
        return await self._set_state(name, change, intent, expected_revision)

    async def uncordon(
        self,
        name: str,
        reason: str,
        intent: Intent[HostResources],
        *,
        expected_revision: int | None = None,
    ) -> HostResources:
        """Let a cordoned or drained host take sandboxes again."""
        before = (HostState.CORDONED, HostState.DRAINED)
        change = (before, HostState.ACTIVE, reason or "uncordoned")
        return await self._set_state(name, change, intent, expected_revision)

    async def accept_identity(
        self,
        name: str,
        host_uuid: str,
        intent: Intent[HostResources],
        *,
        expected_revision: int | None = None,
    ) -> HostResources:
        """Take the machine with this UUID for the host; raises `Conflict` if it is another."""

        def unit(tx: Transaction) -> HostResources:
            host = host_at(tx, name, expected_revision)
            return accept(tx, host, host_uuid, actor=intent.actor, at=self._clock.now())

        return self._committed(await self._store.submit(intent.once(unit)))

    async def acceptable(
        self, name: str, host_uuid: str, *, expected_revision: int | None = None
    ) -> HostResources:
        """Return the host as `accept_identity` would leave it; raises what it would raise."""

        def unit(tx: Transaction) -> HostResources:
            host = host_at(tx, name, expected_revision)
            return acceptable(tx, host, host_uuid)

        return await self._store.read(unit)

    async def remove(
        self, name: str, intent: Intent[HostResources], *, expected_revision: int | None = None
    ) -> HostResources:
        """Let a host go; raises `Conflict` while anything of ours is on it."""
        self._refuse_file_host(name)

        def unit(tx: Transaction) -> HostResources:
            host = host_at(tx, name, expected_revision)
            check_empty(tx, host)
            return self._remove(tx, host, intent)

        host = await self._store.submit(intent.once(unit))
        self._fleet.drop(host.id)
        self._journal.poke()
        self._wake(host.id)
        return host

    async def removable(self, name: str, *, expected_revision: int | None = None) -> HostResources:
        """Return the host that `remove` would let go; raises what it would raise."""
        self._refuse_file_host(name)

        def unit(tx: Transaction) -> HostResources:
            host = host_at(tx, name, expected_revision)
            check_empty(tx, host)
            return host

        return await self._store.read(unit)

    def _ensure(self, tx: Transaction, wanted: AddHost) -> HostResources | None:
        """Return the host as the file wants it; None when its record cannot be read."""
        try:
            host = tx.hosts.by_name(wanted.name)
        except NotFound:
            return self._add(tx, wanted, FROM_FILE)
        except Unreadable as error:
            _log.error("host passed over", host=wanted.name, error=error.message)
            return None
        fields = dict(_fields(wanted))
        if fields.get("pool", host.pool) != host.pool:
            try:
                check_empty(tx, host)
            except (Conflict, Unreadable) as error:
                self._keep_pool(tx, host, str(fields.pop("pool")), error)
        return self._changed(tx, host, fields, FROM_FILE)

    def _keep_pool(
        self, tx: Transaction, host: HostResources, wanted: str, error: Conflict | Unreadable
    ) -> None:
        """Tell that the file's pool has to wait; a daemon that did not start would help nobody.

        A record that cannot be read counts as something of ours that is there.
        """
        _log.error("pool kept", host=host.name, pool=host.pool, wanted=wanted, error=error.message)
        tx.events.add(
            Event(
                at=self._clock.now(),
                kind="host.pool_kept",
                actor=FROM_FILE,
                host_id=host.id,
                message=f"pool {host.pool} stays and is not {wanted}: {error.message}",
                evidence={"pool": host.pool, "wanted": wanted, **error.details},
            )
        )

    def _add(self, tx: Transaction, request: AddHost, actor: str) -> HostResources:
        now = self._clock.now()
        host = tx.hosts.add(_host(request, now))
        tx.events.add(
            Event(
                at=now,
                kind="host.added",
                actor=actor,
                host_id=host.id,
                message=f"host {host.name} joined the fleet over {host.transport}",
            )
        )
        return host

    def _changed(
        self, tx: Transaction, host: HostResources, fields: Mapping[str, Any], actor: str
    ) -> HostResources:
        changed = {key: value for key, value in fields.items() if getattr(host, key) != value}
        if not changed:
            return host
        edited = replace(host, **changed)
        _check_reachable(edited)
        now = self._clock.now()
        saved = tx.hosts.replace(edited, expected_generation=host.generation)
        tx.events.add(
            Event(
                at=now,
                kind="host.edited",
                actor=actor,
                host_id=host.id,
                message=f"changed {', '.join(sorted(changed))}",
                evidence={key: [_told(getattr(host, key)), _told(changed[key])] for key in changed},
            )
        )
        return saved

    async def _set_state(
        self,
        name: str,
        change: tuple[tuple[HostState, ...], HostState, str],
        intent: Intent[HostResources],
        expected_revision: int | None,
    ) -> HostResources:
        expected, new, reason = change

        def unit(tx: Transaction) -> HostResources:
            now = self._clock.now()
            host = host_at(tx, name, expected_revision)
            if host.state is not new:
                check_state(host, expected, new)
                host = tx.hosts.set_state(
                    host.id, expected, new, at=now, actor=intent.actor, reason=reason
                )
            return host

        return self._committed(await self._store.submit(intent.once(unit)))

    def _remove(
        self, tx: Transaction, host: HostResources, intent: Intent[HostResources]
    ) -> HostResources:
        now = self._clock.now()
        if host.state is not HostState.REMOVING:
            host = tx.hosts.set_state(
                host.id,
                host.state,
                HostState.REMOVING,
                at=now,
                actor=intent.actor,
                reason="removed",
            )
        tx.hosts.remove(host.id)
        tx.events.add(
            Event(
                at=now,
                kind="host.removed",
                actor=intent.actor,
                host_id=host.id,
                message=f"host {host.name} left the fleet",
            )
        )
        return host

    def _refuse_file_fields(self, name: str, fields: Collection[str]) -> None:
        named = sorted(set(self._in_file.get(name, ())) & set(fields))
        if named:
            raise SetInFile(
                f"the configuration file sets {', '.join(named)} of host {name}",
                remedy="change it in the file and restart the daemon, or remove it from the file",
                details={"fields": named},
            )

    def _refuse_file_host(self, name: str) -> None:
        if name in self._in_file:
            raise SetInFile(
                f"host {name} is named in the configuration file, which would add it again",
                remedy="remove it from the file, restart the daemon, then remove the host",
            )

    def _committed(self, host: HostResources) -> HostResources:
        self._fleet.put(host)
        self._journal.poke()
        self._wake(host.id)
        return host


def _host(request: AddHost, now: datetime) -> HostResources:
    fields = {"address": _LOCAL, **_values(request.model_dump(exclude_none=True))}
    return HostResources(**fields, id=ids.new_id(ids.Prefix.HOST), created_at=now, updated_at=now)


def _check_reachable(host: HostResources) -> None:
    fault = unreachable(host.transport, host.address, host.uri)
    if fault is not None:
        raise Invalid(fault[0], remedy=fault[1], details={"transport": fault[0]})


def _fields(request: AddHost | EditHost) -> Mapping[str, Any]:
    fields = _values(request.model_dump(exclude_unset=True))
    if "address" in fields and fields["address"] is None:
        fields["address"] = _LOCAL
    return fields


def _values(fields: dict[str, Any]) -> dict[str, Any]:
    for name, kind in (("transport", Transport), ("virt_type", VirtType)):
        if name in fields:
            fields[name] = kind(fields[name])
    if "networks" in fields:
        fields["networks"] = tuple(fields["networks"])
    return fields


def _told(value: object) -> object:
    return value if isinstance(value, str | int | float | None) else str(value)
