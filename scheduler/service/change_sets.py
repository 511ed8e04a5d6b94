"""Change sets: have one made from a diff, look, hand it on, have it verified.

A request is done when its intent is durable: loops write the files, ask the tools and try the code
on a clone. A diff may have several change sets; a job's newest speaks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from scheduler import ids
from scheduler.changes.trees import fault_of_name
from scheduler.clock import Clock
from scheduler.errors import Conflict, Invalid, NotFound
from scheduler.model import (
    ChangeSet,
    ChangeSetState,
    Event,
    Verification,
)
from scheduler.publishing.change_files import FOLDER, ChangeFiles, fault_of_job
from scheduler.service.change_set_reports import ChangeSetReport, report_of, settled
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.requests import MakeChangeSet
from scheduler.store import ChangeSetFilter, ListOptions, Page, Store, Transaction


class ChangeSetService:
    """What is done with change sets; `wake` tells the loops of one, `wake_verification` too."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        files: ChangeFiles | None,
        journal: Journal,
        wake: Callable[[str], None],
        wake_verification: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._files = files
        self._journal = journal
        self._wake = wake
        self._wake_verification = wake_verification

    async def create(
        self, diff_id: str, request: MakeChangeSet, intent: Intent[ChangeSetReport]
    ) -> ChangeSetReport:
        """Record that a diff is to become code; raises `NotFound` for an unknown diff.

        `Invalid` where the name cannot be a role's and a module's, or the job's a directory's.
        """
        if (reason := fault_of_name(request.name)) is not None:
            raise Invalid(
                f"a change set cannot be called {request.name}: {reason}",
                remedy="give it a name such as web_server",
                details={"name": reason},
            )
        made = await self._store.submit(
            intent.once(partial(self._record, diff_id, request, intent.actor))
        )
        self._journal.poke()
        self._wake(made.id)
        return made

    async def get(self, id: str) -> ChangeSetReport:
        """Return a change set; raises `NotFound`."""
        return await self._store.read(lambda tx: report_of(tx, tx.change_sets.get(id)))

    async def find(self, wanted: ChangeSetFilter, options: ListOptions) -> Page[ChangeSetReport]:
        """Return a page of change sets, newest first, without what tools and plays said."""

        def unit(tx: Transaction) -> Page[ChangeSetReport]:
            page = tx.change_sets.find(wanted, options)
            items = tuple(report_of(tx, one, brief=True) for one in page.items)
            return Page(items=items, next_cursor=page.next_cursor)

        return await self._store.read(unit)

    async def wait(self, id: str, seconds: float) -> ChangeSetReport:
        """Return the change set once it is settled, or as it is when `seconds` are over."""
        return await self._journal.until(lambda: self.get(id), settled, seconds)

    async def archive(self, id: str) -> Path:
        """Return where the archive of a change set lies; `Conflict` while it is not written."""
        change_set = await self._store.read(lambda tx: tx.change_sets.get(id))
        _check_written(change_set)
        files = self._files
        path = None if files is None else files.archive(change_set.job_id, change_set.id)
        if path is None or not path.is_file():
            raise NotFound(
                f"the archive of {id} is not in the state directory any more",
                remedy="have the change set made again from its diff",
            )
        return path

    async def verify(self, id: str, intent: Intent[ChangeSetReport]) -> ChangeSetReport:
        """Record that a change set is to be tried on a fresh clone; one at a time for each."""
        begun = await self._store.submit(intent.once(partial(self._begin, id, intent.actor)))
        self._journal.poke()
        self._wake_verification(begun.id)
        return begun

    def _record(
        self, diff_id: str, request: MakeChangeSet, actor: str, tx: Transaction
    ) -> ChangeSetReport:
        now = self._clock.now()
        diff = tx.diffs.get(diff_id)
        sandbox = tx.sandboxes.get(diff.sandbox_id)
        if (reason := fault_of_job(sandbox.job_id)) is not None:
            raise Invalid(
                f"job {sandbox.job_id} can have no change sets: {reason}",
                remedy="create the sandbox for a job with another id",
                details={"job_id": reason},
            )
        id = ids.new_id(ids.Prefix.CHANGE_SET)
        made = ChangeSet(
            id=id,
            job_id=sandbox.job_id,
            sandbox_id=sandbox.id,
            diff_id=diff.id,
            path_ansible=f"{FOLDER}/{sandbox.job_id}/{id}/ansible",
            path_puppet=f"{FOLDER}/{sandbox.job_id}/{id}/puppet",
            name=request.name,
            state=ChangeSetState.PENDING,
            actor=actor,
            created_at=now,
            updated_at=now,
        )
        tx.change_sets.add(made)
        tx.events.add(
            change_set_event("change_set.created", made, "requested", actor=actor, at=now)
        )
        return report_of(tx, made)

    def _begin(self, id: str, actor: str, tx: Transaction) -> ChangeSetReport:
        now = self._clock.now()
        change_set = tx.change_sets.get(id)
        _check_written(change_set)
        before = tx.verifications.get(id)
        if before is not None and not before.over:
            raise Conflict(
                f"change set {id} is being verified: {before.phase}",
                remedy=f"wait for it: sandboxctl changeset show {id}",
                details={"phase": before.phase.value},
            )
        fresh = Verification(change_set_id=id, actor=actor, started_at=now, updated_at=now)
        if before is None:
            tx.verifications.add(fresh)
        else:
            attempts, generation = before.attempts + 1, before.generation
            tx.verifications.replace(replace(fresh, attempts=attempts, generation=generation))
        tx.events.add(
            change_set_event(
                "change_set.verify_requested", change_set, "requested", actor=actor, at=now
            )
        )
        return report_of(tx, change_set)


def _check_written(change_set: ChangeSet) -> None:
    if not change_set.written:
        raise Conflict(
            f"change set {change_set.id} is {change_set.state}: nothing of it can be read",
            remedy=change_set.reason or "wait until it is READY: sandboxctl changeset show",
            details={"state": change_set.state.value},
        )


def change_set_event(
    kind: str, change_set: ChangeSet, message: str, *, at: datetime, actor: str = "system"
) -> Event:
    """Return an entry of the journal about a change set."""
    return Event(
        at=at,
        kind=kind,
        actor=actor,
        sandbox_id=change_set.sandbox_id,
        reason_code=change_set.state.value.lower(),
        message=f"change set {change_set.id}: {message}",
        evidence={
            "change_set_id": change_set.id,
            "job_id": change_set.job_id,
            "diff_id": change_set.diff_id,
        },
    )
