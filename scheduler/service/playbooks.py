"""Playbooks: stored plays, edited against a revision, taken in and given out as YAML.

Every change of a play or of one of its tasks is a revision of the whole. Files and Ansible's
opinion of them follow by a loop; a request is done when the play is stored.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from scheduler import ids
from scheduler.changes.contents import Contents
from scheduler.changes.imported import imported
from scheduler.changes.plays import MOST_TASKS, PlannedTask, parse
from scheduler.clock import Clock
from scheduler.errors import Invalid, NotFound, Unavailable
from scheduler.model import Delta, Event, Playbook, PlaybookTask
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.playbook_reports import (
    PlaybookReport,
    PlaybookText,
    rendered,
    report_of,
    tasks_of,
)
from scheduler.service.playbook_requests import (
    AddTask,
    CreatePlaybook,
    EditPlaybook,
    EditTask,
    ImportChangeSet,
    ImportPlaybook,
    OrderTasks,
)
from scheduler.service.revisions import check_revision
from scheduler.store import ListOptions, Page, Store, Transaction

MOST_TOLD = 20
"""How many things that cannot be imported are told at once."""
MOST_BYTES = 256 * 1024
"""How much all parameters of one playbook may be."""


class _Done(NamedTuple):
    """A change as it is about to be committed."""

    playbook: Playbook
    kind: str
    message: str
    last: PlaybookReport | None = None
    """What it was, when it is no more."""


Change = Callable[[Transaction], _Done]


class PlaybookService:
    """What people do with playbooks; `wake` tells the loop that writes their files."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        journal: Journal,
        wake: Callable[[], None],
        contents: Contents | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._journal = journal
        self._wake = wake
        self._contents = contents

    async def get(self, name: str) -> PlaybookReport:
        """Return a playbook with its tasks; raises `NotFound`."""
        return await self._store.read(lambda tx: report_of(tx, tx.playbooks.by_name(name)))

    async def find(self, options: ListOptions) -> Page[Playbook]:
        """Return a page of playbooks, without their tasks."""
        return await self._store.read(lambda tx: tx.playbooks.find(options))

    async def tasks(self, name: str) -> tuple[PlaybookTask, ...]:
        """Return a playbook's tasks in order; raises `NotFound`."""
        return (await self.get(name)).tasks

    async def export(self, name: str) -> PlaybookText:
        """Return a playbook as Ansible's YAML; raises `NotFound`."""
        report = await self.get(name)
        text = await asyncio.to_thread(rendered, report)
        return PlaybookText(name=report.name, revision=report.revision, yaml=text)

    async def wait(self, name: str, seconds: float) -> PlaybookReport:
        """Return the playbook once its revision was checked, or when `seconds` are over."""
        return await self._journal.until(
            lambda: self.get(name), lambda one: one.checked_revision == one.revision, seconds
        )

    async def create(
        self, request: CreatePlaybook, intent: Intent[PlaybookReport]
    ) -> PlaybookReport:
        """Store a new play with its tasks; `AlreadyExists` when its name is taken."""
        tasks = [_planned(task) for task in request.tasks]
        fresh = partial(self._fresh, request.name, request.hosts, request.become)
        return await self._change(partial(self._create, fresh, tasks, "created"), intent)

    async def take(self, request: ImportPlaybook, intent: Intent[PlaybookReport]) -> PlaybookReport:
        """Store the play of a YAML text; `Invalid` says what of it cannot be kept, and where."""
        play = await asyncio.to_thread(parse, request.yaml)
        fresh = partial(self._fresh, request.name, play.hosts, play.become)
        return await self._change(partial(self._create, fresh, play.tasks, "imported"), intent)

    async def take_change_set(
        self, request: ImportChangeSet, intent: Intent[PlaybookReport]
    ) -> PlaybookReport:
        """Store what a change set brings about, as literal tasks.

        `Invalid` lists what a stored playbook cannot say, unless that is to be left out.
        """
        delta = await self._store.read(partial(_delta_of, request.change_set_id))
        if self._contents is None:
            raise Unavailable("this daemon keeps no contents of guests' files")
        found = await asyncio.to_thread(imported, delta, self._contents)
        if found.reviews and not request.partial:
            left = [f"{one.subject!a}: {one.reason}" for one in found.reviews[:MOST_TOLD]]
            raise Invalid(
                f"a stored playbook cannot say {len(found.reviews)} things of the change set: "
                + "; ".join(left),
                remedy="take the change set's own role, or leave them out: --partial",
            )
        if not found.tasks or len(found.tasks) > MOST_TASKS:
            raise Invalid(
                f"the change set would be {len(found.tasks)} tasks, of 1 to {MOST_TASKS}",
                remedy="take the change set's own role:"
                f" sandboxctl changeset archive {request.change_set_id}",
            )
        fresh = partial(self._fresh, request.name, "all", True)
        how = f"imported from {request.change_set_id}, {len(found.reviews)} things left out,"
        return await self._change(partial(self._create, fresh, found.tasks, how), intent)

    async def edit(
        self,
        name: str,
        request: EditPlaybook,
        intent: Intent[PlaybookReport],
        *,
        expected_revision: int | None,
    ) -> PlaybookReport:
        """Change the fields that are given."""
        changes = request.model_dump(exclude_none=True)

        def change(tx: Transaction) -> _Done:
            before = _at_revision(tx, name, expected_revision)
            edited = _revised(tx, replace(before, **changes))
            said = ", ".join(f"{key} {value}" for key, value in changes.items()) or "nothing"
            return _Done(edited, "playbook.edited", f"changed: {said}")

        return await self._change(change, intent)

    async def remove(
        self, name: str, intent: Intent[PlaybookReport], *, expected_revision: int | None
    ) -> PlaybookReport:
        """Remove a playbook with its tasks; return it as it was last."""

        def change(tx: Transaction) -> _Done:
            before = _at_revision(tx, name, expected_revision)
            last = report_of(tx, before)
            tx.playbooks.remove(before.id)
            message = f"deleted with {len(last.tasks)} tasks"
            return _Done(before, "playbook.deleted", message, last)

        return await self._change(change, intent)

    async def add_task(
        self,
        name: str,
        request: AddTask,
        intent: Intent[PlaybookReport],
        *,
        expected_revision: int | None,
    ) -> PlaybookReport:
        """Add a task at the end."""

        def change(tx: Transaction) -> _Done:
            playbook = _at_revision(tx, name, expected_revision)
            position = tx.playbook_tasks.next_position(playbook.id)
            if len(tasks_of(tx, playbook)) >= MOST_TASKS:
                raise Invalid(
                    f"playbook {name} has {MOST_TASKS} tasks, which is the most",
                    remedy="split it: make another playbook of some of them",
                )
            self._add_tasks(tx, playbook, [_planned(request)], position)
            return _Done(_revised(tx, playbook), "playbook.task_added", f"task {request.name!r}")

        return await self._change(change, intent)

    async def edit_task(
        self,
        name: str,
        task_id: str,
        request: EditTask,
        intent: Intent[PlaybookReport],
        *,
        expected_revision: int | None,
    ) -> PlaybookReport:
        """Change the fields of a task that are given; `NotFound` when it is another playbook's."""
        changes = request.model_dump(exclude_none=True)

        def change(tx: Transaction) -> _Done:
            playbook = _at_revision(tx, name, expected_revision)
            task = tx.playbook_tasks.replace(replace(_task(tx, playbook, task_id), **changes))
            said = ", ".join(sorted(changes)) or "nothing"
            message = f"task {task.name!r} changed: {said}"
            return _Done(_revised(tx, playbook), "playbook.task_edited", message)

        return await self._change(change, intent)

    async def remove_task(
        self,
        name: str,
        task_id: str,
        intent: Intent[PlaybookReport],
        *,
        expected_revision: int | None,
    ) -> PlaybookReport:
        """Remove a task; `NotFound` when it is another playbook's."""

        def change(tx: Transaction) -> _Done:
            playbook = _at_revision(tx, name, expected_revision)
            task = _task(tx, playbook, task_id)
            tx.playbook_tasks.remove(task.id)
            return _Done(_revised(tx, playbook), "playbook.task_removed", f"task {task.name!r}")

        return await self._change(change, intent)

    async def order(
        self,
        name: str,
        request: OrderTasks,
        intent: Intent[PlaybookReport],
        *,
        expected_revision: int | None,
    ) -> PlaybookReport:
        """Give the tasks another order; `Invalid` unless every one is named once."""

        def change(tx: Transaction) -> _Done:
            playbook = _at_revision(tx, name, expected_revision)
            tx.playbook_tasks.reorder(playbook.id, request.task_ids)
            return _Done(_revised(tx, playbook), "playbook.ordered", "tasks in another order")

        return await self._change(change, intent)

    async def _change(self, change: Change, intent: Intent[PlaybookReport]) -> PlaybookReport:
        report = await self._store.submit(intent.once(partial(self._write, change, intent.actor)))
        self._journal.poke()
        self._wake()
        return report

    def _write(self, change: Change, actor: str, tx: Transaction) -> PlaybookReport:
        done = change(tx)
        tx.events.add(self._event(done, actor))
        return done.last or _within_bounds(report_of(tx, done.playbook))

    def _create(
        self,
        fresh: Callable[[], Playbook],
        tasks: Iterable[PlannedTask],
        how: str,
        tx: Transaction,
    ) -> _Done:
        playbook = tx.playbooks.add(fresh())
        count = self._add_tasks(tx, playbook, tasks, 0)
        return _Done(playbook, "playbook.created", f"{how} with {count} tasks")

    def _fresh(self, name: str, hosts: str, become: bool) -> Playbook:
        now = self._clock.now()
        return Playbook(
            id=ids.new_id(ids.Prefix.PLAYBOOK),
            name=name,
            hosts=hosts,
            become=become,
            created_at=now,
            updated_at=now,
        )

    def _add_tasks(
        self, tx: Transaction, playbook: Playbook, tasks: Iterable[PlannedTask], first: int
    ) -> int:
        position = first
        for position, task in enumerate(tasks, first + 1):
            tx.playbook_tasks.add(
                PlaybookTask(
                    id=ids.new_id(ids.Prefix.TASK),
                    playbook_id=playbook.id,
                    position=position - 1,
                    name=task.name,
                    module=task.module,
                    params=task.params,
                    literal=task.literal,
                    created_at=self._clock.now(),
                )
            )
        return position - first

    def _event(self, done: _Done, actor: str) -> Event:
        playbook = done.playbook
        return Event(
            at=self._clock.now(),
            kind=done.kind,
            actor=actor,
            reason_code="requested",
            message=f"playbook {playbook.name}: {done.message}",
            evidence={
                "playbook_id": playbook.id,
                "name": playbook.name,
                "revision": playbook.revision,
            },
        )


def _delta_of(change_set_id: str, tx: Transaction) -> Delta:
    diff = tx.diffs.get(tx.change_sets.get(change_set_id).diff_id)
    if diff.delta is None:
        raise NotFound(
            f"of diff {diff.id} only names are kept", remedy="compute it anew: sandboxctl diff"
        )
    return diff.delta


def _at_revision(tx: Transaction, name: str, expected: int | None) -> Playbook:
    playbook = tx.playbooks.by_name(name)
    check_revision(f"playbook {name}", playbook.revision, expected)
    return playbook


def _revised(tx: Transaction, playbook: Playbook) -> Playbook:
    return tx.playbooks.replace(playbook, expected_revision=playbook.revision)


def _task(tx: Transaction, playbook: Playbook, task_id: str) -> PlaybookTask:
    found = next((task for task in tasks_of(tx, playbook) if task.id == task_id), None)
    if found is None:
        raise NotFound(
            f"playbook {playbook.name} has no task {task_id}",
            remedy=f"see its tasks: sandboxctl playbook show {playbook.name}",
        )
    return found


def _planned(task: AddTask) -> PlannedTask:
    return PlannedTask(name=task.name, module=task.module, params=task.params, literal=task.literal)


def _within_bounds(report: PlaybookReport) -> PlaybookReport:
    size = sum(len(json.dumps(task.params)) for task in report.tasks)
    if size > MOST_BYTES:
        raise Invalid(
            f"the parameters of all tasks are {size} bytes together, of at most {MOST_BYTES}",
            remedy="split it, or put large contents into files and name those",
        )
    return report
