"""Hosts: an operator's edits, a poll's facts and the ledger's counters meet in one row, apart.

Edits and polls never write `reserved_*`, claims never write anything else, so none of them can undo
another. Whatever changes a total, a ratio or a reserve rewrites the limits with it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Unpack

from scheduler.errors import Conflict, StaleRevision
from scheduler.model import Breaker, Event, HostResources, HostState
from scheduler.model.events import SYSTEM
from scheduler.placement.limits import with_limits
from scheduler.store.options import ListOptions, Page
from scheduler.store.repositories import host_queries as queries
from scheduler.store.repositories.events import Events
from scheduler.store.repositories.host_changes import HostFacts, configured
from scheduler.store.repositories.host_queries import HostFilter
from scheduler.store.repositories.repository import Repository
from scheduler.store.tables import HOSTS


class Hosts(Repository):
    """The hosts' repository."""

    __slots__ = ()

    def add(self, host: HostResources) -> HostResources:
        """Write a new host with nothing reserved; `AlreadyExists` when the name is taken."""
        fresh = with_limits(
            replace(
                host,
                reserved_cpus=0,
                reserved_memory_mb=0,
                reserved_storage_mb=0,
                reserved_sandboxes=0,
                created_at=host.created_at or self._clock.now(),
            )
        )
        self._insert(HOSTS, queries.INSERT, fresh)
        return fresh

    def get(self, id: str) -> HostResources:
        """Return a host; `NotFound` when there is none."""
        return self._one(HOSTS, queries.BY_ID, id)

    def by_name(self, name: str) -> HostResources:
        """Return the host of this name; `NotFound` when there is none."""
        return self._one(HOSTS, queries.BY_NAME, name)

    def find(
        self, filter: HostFilter | None = None, options: ListOptions | None = None
    ) -> Page[HostResources]:
        """Return a page of the hosts that match, newest first unless asked otherwise."""
        query = queries.matching(filter or HostFilter(), self._cursor.engine)
        return self._page(HOSTS, query, queries.ORDER, options)

    def all(self) -> tuple[HostResources, ...]:
        """Return every host, by name."""
        return self._all(HOSTS, queries.ALL)

    def readable(self) -> tuple[HostResources, ...]:
        """Return those that can be read: nothing may follow from one that is not there."""
        return self._readable(HOSTS, queries.ALL)

    def of_machine(self, host_uuid: str) -> tuple[HostResources, ...]:
        """Return the records that say they are the machine of this UUID; one at most."""
        return self._all(HOSTS, queries.OF_MACHINE, host_uuid)

    def replace(self, host: HostResources, *, expected_generation: int) -> HostResources:
        """Write an operator's edit; state, counters and limits are not his to write here.

        `Conflict` when the record has moved on; generation and revision grow by one.
        """
        old = self.get(host.id)
        if old.generation != expected_generation:
            raise _stale(old, expected_generation)
        edited = replace(host, state=old.state, state_reason=old.state_reason)
        return self._write(old, edited, revision=old.revision + 1)

    def upsert(self, host: HostResources) -> HostResources:
        """Ensure that a host of this name is configured so; what is observed of it stays.

        Id, creation, state, health and counters are kept, and nothing is written when nothing
        differs.
        """
        row = self._maybe(HOSTS, queries.BY_NAME, host.name)
        if row is None:
            return self.add(host)
        wanted = replace(row, **configured(host))
        if wanted == row:
            return row
        return self._write(row, wanted, revision=row.revision + 1)

    def observe(self, id: str, *, at: datetime, **facts: Unpack[HostFacts]) -> HostResources:
        """Write what a poll saw, with the limits that follow from it.

        It never competes with claims: their counters are not touched and no generation is asked.
        """
        old = self.get(id)
        return self._write(old, replace(old, **facts), revision=old.revision, at=at)

    def set_breakers(
        self, id: str, breakers: tuple[Breaker, ...], *, at: datetime
    ) -> HostResources:
        """Write which builds are kept off the host; the caller tells why, in the same unit."""
        old = self.get(id)
        return self._write(old, replace(old, breakers=breakers), revision=old.revision, at=at)

    def set_state(
        self,
        id: str,
        expected: HostState | Collection[HostState],
        new: HostState,
        *,
        at: datetime,
        actor: str = SYSTEM,
        reason: str | None = None,
    ) -> HostResources:
        """Change the operator's will from an expected state, with its event; else `Conflict`.

        It is another revision, as any change of what operators decide; what is observed is none.
        """
        old = self.get(id)
        wanted = (expected,) if isinstance(expected, HostState) else expected
        if old.state not in wanted:
            raise Conflict(
                f"host {old.name} is {old.state}, not {' or '.join(sorted(wanted))}",
                remedy="Look at the host again and decide anew.",
                details={"state": str(old.state), "expected": sorted(map(str, wanted))},
            )
        changed = replace(old, state=new, state_reason=reason)
        written = self._write(old, changed, revision=old.revision + 1, at=at)
        event = Event(
            at=at,
            kind="host.state",
            actor=actor,
            host_id=id,
            message=reason or "",
            evidence={"from": str(old.state), "to": str(new)},
        )
        Events(self._cursor, self._clock).add(event)
        return written

    def remove(self, id: str) -> None:
        """Forget a host; `Conflict` while sandboxes or volumes of ours are recorded there."""
        old = self.get(id)
        for statement, what in _HELD:
            row = self._cursor.row(statement, id)
            if row is not None and row[0]:
                raise Conflict(
                    f"host {old.name} still has {row[0]} {what}(s) of ours",
                    remedy="Drain it first, or forget the sandboxes that are there.",
                    details={what: row[0]},
                )
        self._cursor.change(queries.REMOVE, (id,))

    def _write(
        self,
        old: HostResources,
        new: HostResources,
        *,
        revision: int,
        at: datetime | None = None,
    ) -> HostResources:
        written = with_limits(
            replace(
                new,
                generation=old.generation + 1,
                revision=revision,
                updated_at=at or self._clock.now(),
                created_at=old.created_at,
                reserved_cpus=old.reserved_cpus,
                reserved_memory_mb=old.reserved_memory_mb,
                reserved_storage_mb=old.reserved_storage_mb,
                reserved_sandboxes=old.reserved_sandboxes,
            )
        )
        parameters = [*HOSTS.row(written), old.id, old.generation]
        self._change(HOSTS, queries.OVERWRITE, parameters, written)
        return written


_HELD = (
    (queries.CLAIMS, "allocation"),
    (queries.PLACED, "sandbox"),
    (queries.LISTED, "volume"),
)


def _stale(host: HostResources, expected: int) -> Conflict:
    return StaleRevision(
        f"host {host.name} was changed meanwhile",
        remedy="Read it again and edit that.",
        details={"generation": host.generation, "expected": expected},
    )
