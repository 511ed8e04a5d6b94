"""Sandboxes: every change of state is compared and set, and written with its event (I7, I13).

Changes read the row, let the life cycle's table judge, and write it back guarded by its generation.
All writes pass one writer, so the guard is a second line, not a retry loop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Unpack

from scheduler.errors import Conflict, Invalid
from scheduler.lifecycle import transitions
from scheduler.model import DesiredState, Event, Sandbox, SandboxState
from scheduler.model.events import SYSTEM
from scheduler.store.options import UNSET, ListOptions, Page, Unset, given
from scheduler.store.repositories import sandbox_queries as queries
from scheduler.store.repositories.events import Events
from scheduler.store.repositories.repository import Repository
from scheduler.store.repositories.sandbox_changes import (
    SandboxChanges,
    checked,
    journalled,
    revised,
)
from scheduler.store.repositories.sandbox_queries import Placed, SandboxFilter
from scheduler.store.repositories.user_data import UserData
from scheduler.store.tables import SANDBOXES
from scheduler.store.values import micros, moment

_ID, _GENERATION, _DOMAIN = map(SANDBOXES.columns.index, ("id", "generation", "domain_uuid"))
_STATES = frozenset(state.value for state in SandboxState)


class Sandboxes(Repository):
    """The sandboxes' repository; `get` finds tombstones, everything else only what lives."""

    __slots__ = ()

    def add(self, sandbox: Sandbox) -> Sandbox:
        """Write a new sandbox; `AlreadyExists` when a live one has its name."""
        self._insert(SANDBOXES, queries.INSERT, sandbox)
        return sandbox

    def get(self, id: str) -> Sandbox:
        """Return a sandbox, buried or not; `NotFound` when the id was never used."""
        return self._one(SANDBOXES, queries.BY_ID, id)

    def by_name(self, name: str) -> Sandbox:
        """Return the live sandbox of this name; `NotFound` when there is none."""
        return self._one(SANDBOXES, queries.BY_NAME, name)

    def find(
        self, filter: SandboxFilter | None = None, options: ListOptions | None = None
    ) -> Page[Sandbox]:
        """Return a page of the sandboxes that match, newest first unless asked otherwise.

        One that cannot be read is passed over, unless a name or the beginning of an id is asked
        for: that could become another's then.
        """
        wanted = filter or SandboxFilter()
        query = queries.matching(wanted, self._cursor.engine)
        whole = wanted.vm_name is not None or wanted.id_prefix is not None
        return self._page(SANDBOXES, query, queries.ORDER, options, whole=whole)

    def are_as_many(self, filter: SandboxFilter, count: int) -> bool:
        """Return whether at least `count` match, be they readable or not; none are read."""
        last = ListOptions(limit=1, offset=max(0, count - 1))
        query = queries.matching(filter, self._cursor.engine)
        return count <= 0 or bool(self._cursor.search(queries.ORDER.of(last).page(query, last)))

    def live(self) -> tuple[Sandbox, ...]:
        """Return every sandbox that is not destroyed, oldest first."""
        return self._all(SANDBOXES, queries.LIVE)

    def of_host(self, host_id: str) -> tuple[Sandbox, ...]:
        """Return the live sandboxes that are placed on a host, oldest first."""
        return self._all(SANDBOXES, queries.OF_HOST, host_id)

    def of_address(self, host_id: str, network: str, address: str) -> tuple[Sandbox, ...]:
        """Return the live sandboxes of a host that have an address in a network, oldest first.

        Only they are read: one of another address that cannot be is in nobody's way.
        """
        return self._all(SANDBOXES, queries.OF_ADDRESS, host_id, network, address)

    def placed_on(self, host_id: str, known: Iterable[Sandbox] = ()) -> Placed:
        """Return the live sandboxes that are placed on a host, and those that cannot be read.

        Those of `known` that nobody has written since come back as they are: every write raises
        the generation, and to read a row costs many times what it costs to compare two columns.
        """
        unchanged = {(one.id, one.generation): one for one in known}
        found: list[Sandbox] = []
        unreadable: dict[str, str | None] = {}
        for row in self._cursor.rows(queries.OF_HOST, host_id):
            same = unchanged.get((row[_ID], row[_GENERATION]))
            read = (same,) if same is not None else self._each(SANDBOXES, (row,))
            found += read
            if not read:
                unreadable[row[_ID]] = row[_DOMAIN]
        return Placed(sandboxes=tuple(found), unreadable=unreadable)

    def counts(self) -> Mapping[tuple[str | None, SandboxState], int]:
        """Return how many live sandboxes each host has in each state."""
        return {
            (host_id, SandboxState(state)): count
            for host_id, state, count in self._cursor.rows(queries.COUNTS)
            if state in _STATES
        }

    def due(self, now: datetime, limit: int = 1000) -> tuple[Sandbox, ...]:
        """Return the sandboxes whose lease has ended and that nobody is destroying, first first."""
        return self._readable(SANDBOXES, queries.DUE, micros(now), limit)

    def next_expiry(self, after: datetime) -> datetime | None:
        """Return when the next lease ends after a time, or None when none does."""
        row = self._cursor.row(queries.NEXT_EXPIRY, micros(after))
        return None if row is None or row[0] is None else moment(row[0])

    def unsettled(self) -> tuple[Sandbox, ...]:
        """Return the live sandboxes with host work to do, oldest first.

        One in ERROR that should run is settled: only a retry, which sets a phase, moves it.
        """
        return self._readable(SANDBOXES, queries.UNSETTLED)

    def booting_on(self, host_id: str) -> tuple[Sandbox, ...]:
        """Return the sandboxes on a host that are starting and are to run, in no order."""
        return self._readable(SANDBOXES, queries.BOOTING_ON, host_id)

    def replace(self, sandbox: Sandbox, *, expected_generation: int) -> Sandbox:
        """Write a user's edit; the state cannot change here.

        `Conflict` when the record has moved on; the result carries new generation and revision.
        """
        old = self.get(sandbox.id)
        if sandbox.state is not old.state:
            raise Invalid(
                f"sandbox {sandbox.id} is {old.state}: an edit cannot make it {sandbox.state}",
                remedy="Use transition, which writes the event too.",
            )
        edited = replace(
            sandbox,
            generation=old.generation + 1,
            revision=old.revision + 1,
            updated_at=self._clock.now(),
        )
        self._write(edited, expected_generation)
        return edited

    def transition(
        self,
        id: str,
        expected: SandboxState | Collection[SandboxState],
        new: SandboxState,
        *,
        at: datetime,
        actor: str = SYSTEM,
        expected_generation: int | None = None,
        ip_address: str | Unset | None = UNSET,
        reason_code: str | Unset | None = UNSET,
        reason_message: str | Unset | None = UNSET,
        evidence: Mapping[str, object] | None = None,
        **changes: Unpack[SandboxChanges],
    ) -> Sandbox:
        """Move a sandbox from an expected state to a new one, with its event.

        What is not given keeps its value. The same state again writes only the fields, and an event
        when a user would see the difference; the revision grows where one would decide by it.
        `Conflict` when the state is another, the step is not in the life cycle's table, or the
        record has moved on from a generation that was named; DESTROYED is written by `bury` alone.
        """
        old = self.get(id)
        checked(old, expected, new)
        changed = replace(
            old,
            state=new,
            updated_at=at,
            generation=old.generation + 1,
            ip_address=given(ip_address, old.ip_address),
            reason_code=given(reason_code, old.reason_code),
            reason_message=given(reason_message, old.reason_message),
            **changes,
        )
        changed = revised(old, changed)
        self._write(changed, old.generation if expected_generation is None else expected_generation)
        self._journal(journalled(old, changed, at=at, actor=actor, evidence=evidence or {}))
        return changed

    def bury(
        self,
        id: str,
        *,
        at: datetime,
        actor: str = SYSTEM,
        reason_code: str | None = None,
        reason_message: str | None = None,
        evidence: Mapping[str, object] | None = None,
    ) -> Sandbox:
        """Make a sandbox a tombstone, finally; its name is free again, its user data gone.

        `Conflict` when it is one already or still holds an allocation: release that first, in the
        same transaction.
        """
        old = self.get(id)
        transitions.check(old.state, SandboxState.DESTROYED)
        if held := self._cursor.rows(queries.HELD, id):
            raise Conflict(
                f"sandbox {id} still holds an allocation on host {held[0][0]}",
                remedy="Release it once its absence is proven, or forget the sandbox.",
                details={"host_id": held[0][0]},
            )
        buried = replace(
            old,
            state=SandboxState.DESTROYED,
            desired_state=DesiredState.DESTROYED,
            phase=None,
            phase_at=None,
            retry_at=None,
            move_asked_at=None,
            move_to=None,
            move_reason=None,
            move_drain_id=None,
            reason_code=reason_code or old.reason_code,
            reason_message=reason_message or old.reason_message,
            deleted_at=at,
            updated_at=at,
            generation=old.generation + 1,
            revision=old.revision + 1,
        )
        self._write(buried, old.generation)
        UserData(self._cursor, self._clock).remove(id)
        self._journal(journalled(old, buried, at=at, actor=actor, evidence=evidence or {}))
        return buried

    def shift_expiries(self, delta: timedelta) -> int:
        """Move every live lease's end by `delta` and return how many (the clock was stepped)."""
        return self._cursor.change(queries.SHIFT, (delta // timedelta(microseconds=1),))

    def _write(self, sandbox: Sandbox, expected_generation: int) -> None:
        parameters = [*SANDBOXES.row(sandbox), sandbox.id, expected_generation]
        if self._cursor.change(queries.OVERWRITE, parameters) == 1:
            return
        current = self.get(sandbox.id)
        raise Conflict(
            f"sandbox {sandbox.id} was changed meanwhile",
            remedy="Read it again and decide anew.",
            details={"generation": current.generation, "expected": expected_generation},
        )

    def _journal(self, events: Iterable[Event]) -> None:
        for event in events:
            Events(self._cursor, self._clock).add(event)
