"""Makes change sets: writes the code of a diff to disk, then has the tools here judge it.

One item is one change set. Writing may be repeated, since the same diff gives the same bytes; so a
change set that a crash cut short is simply written again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from scheduler.changes.contents import Contents
from scheduler.changes.trees import change_tree
from scheduler.clock import Clock
from scheduler.errors import Conflict, Invalid, NotFound, Unavailable
from scheduler.model import ChangeSet, ChangeSetState, Check, Delta, Diff
from scheduler.publishing.change_files import ChangeFiles
from scheduler.service.change_sets import change_set_event
from scheduler.store import Store, Transaction

Judge = Callable[[Path, str], Awaitable[tuple[Check, ...]]]


class Deltas(Protocol):
    """Where it is known what changed."""

    async def delta_of(self, diff: Diff) -> Delta:
        """Return all that a diff stands for; raises `NotFound` when it is no longer kept."""
        ...


class ChangeSetWriter:
    """Works on one change set at a time; `Workers` sees to it that nobody else does."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        files: ChangeFiles,
        deltas: Deltas,
        contents: Contents,
        judge: Judge,
        told: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._files = files
        self._deltas = deltas
        self._contents = contents
        self._judge = judge
        self._told = told

    async def pending(self) -> tuple[str, ...]:
        """Return the ids of the change sets that have work to do."""
        unfinished = await self._store.read(lambda tx: tx.change_sets.unfinished())
        return tuple(one.id for one in unfinished)

    async def make(self, id: str) -> float | None:
        """Take a change set further; return None when it rests."""
        try:
            change_set = await self._store.read(lambda tx: tx.change_sets.get(id))
        except NotFound:
            return None
        try:
            if change_set.state is ChangeSetState.PENDING:
                change_set = await self._write(change_set)
            if change_set.state is ChangeSetState.CHECKING:
                await self._check(change_set)
        except Unavailable as error:
            await self._store.submit(partial(self._hold, change_set, error.message))
            raise
        except (NotFound, Invalid) as error:
            failed = replace(change_set, state=ChangeSetState.FAILED, reason=error.message)
            await self._become(change_set, failed, error.message)
        except Conflict:
            return 0.0  # somebody else has changed it: look again
        return None

    async def _write(self, change_set: ChangeSet) -> ChangeSet:
        diff = await self._store.read(lambda tx: tx.diffs.get(change_set.diff_id))
        delta = await self._deltas.delta_of(diff)
        tree = await self._files.write(
            change_set.job_id,
            change_set.id,
            partial(
                change_tree,
                delta,
                self._contents,
                name=change_set.name,
                title=f"what diff {diff.id} found",
            ),
            self._contents,
            at=change_set.created_at,
        )
        written = replace(
            change_set,
            state=ChangeSetState.CHECKING,
            reason=None,
            wishes=tree.wishes,
            reviews=len(tree.reviews),
        )
        told = f"{tree.wishes} things in code, {len(tree.reviews)} left for review"
        return await self._become(change_set, written, told)

    async def _check(self, change_set: ChangeSet) -> None:
        directory = self._files.directory(change_set.job_id, change_set.id)
        checks = await self._judge(directory, change_set.name)
        ready = replace(change_set, state=ChangeSetState.READY, reason=None, checks=checks)
        told = ", ".join(f"{check.tool} {check.result}" for check in checks) or "not judged"
        await self._become(change_set, ready, told)

    async def _become(self, before: ChangeSet, after: ChangeSet, message: str) -> ChangeSet:
        after = replace(after, updated_at=self._clock.now())
        await self._store.submit(partial(self._record, before, after, message))
        self._told()
        return after

    def _record(self, before: ChangeSet, after: ChangeSet, message: str, tx: Transaction) -> None:
        tx.change_sets.replace(after, expected=before.state)
        kind = f"change_set.{after.state.value.lower()}"
        at = after.updated_at or after.created_at
        tx.events.add(change_set_event(kind, after, message, at=at))

    def _hold(self, change_set: ChangeSet, message: str, tx: Transaction) -> None:
        tx.change_sets.replace(replace(change_set, reason=message), expected=change_set.state)
