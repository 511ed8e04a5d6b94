"""/v1/playbooks: stored plays and their tasks, taken in and given out as Ansible's YAML.

Each change of a task is a revision of its playbook: the ETag is the playbook's everywhere.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Query, Request
from starlette.responses import Response

from scheduler.api.answers import Form, Listing
from scheduler.api.callers import expected_revision, intent_of, once
from scheduler.api.queries import DryRun, PlaybookQuery, PlaybookRunQuery, Wait, wait_seconds
from scheduler.api.routing import Operation, Row, table
from scheduler.model import Playbook, PlaybookRun, PlaybookTask
from scheduler.service.playbook_reports import PlaybookReport, PlaybookText
from scheduler.service.playbook_requests import (
    TASK_ID,
    AddTask,
    CreatePlaybook,
    EditPlaybook,
    EditTask,
    ImportChangeSet,
    ImportPlaybook,
    OrderTasks,
    RunPlaybook,
)
from scheduler.service.services import Services
from scheduler.store import Page
from scheduler.validation.fields import OBJECT

_REVISION = {"etag": '"{0.revision}"'}
_PLAYBOOK: Form[PlaybookReport] = Form(PlaybookReport, headers=_REVISION)
_CREATED: Form[PlaybookReport] = Form(
    PlaybookReport,
    HTTPStatus.CREATED,
    headers={**_REVISION, "location": "/v1/playbooks/{0.name}"},
)
_ADDED: Form[PlaybookReport] = Form(PlaybookReport, HTTPStatus.CREATED, headers=_REVISION)
_PLAYBOOKS: Form[Page[Playbook]] = Form(Page[Playbook])
_TASKS: Form[Listing[PlaybookTask]] = Form(Listing[PlaybookTask])
_TEXT: Form[PlaybookText] = Form(PlaybookText, headers=_REVISION)

_RUN_FORM: Form[PlaybookRun] = Form(PlaybookRun)
_RUNS: Form[Page[PlaybookRun]] = Form(Page[PlaybookRun])
_ASKED: Form[PlaybookRun] = Form(
    PlaybookRun, HTTPStatus.ACCEPTED, headers={"location": "/v1/playbook-runs/{0.id}"}
)
_CANCELLED: Form[PlaybookRun] = Form(PlaybookRun, HTTPStatus.ACCEPTED)

_ALL = "/v1/playbooks"
_ONE = "/v1/playbooks/{playbook}"

_RUN = "/v1/playbook-runs/{run}"

RunId = Annotated[str, Path(pattern=r"^RUN-[0-9A-HJKMNP-TV-Z]{26}$", description="A run's id.")]
PlaybookName = Annotated[str, Path(pattern=OBJECT, description="A playbook's name.")]
TaskReference = Annotated[str, Path(pattern=TASK_ID, description="A task's id.")]


class PlaybookRoutes:
    """What can be asked about playbooks."""

    def __init__(self, services: Services) -> None:
        self._playbooks = services.playbooks
        self._runs = services.playbook_runs
        self._kept = services.kept_answers

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("GET", _ALL, self.find, Listing[Playbook], 200),
            ("POST", _ALL, self.create, PlaybookReport, 201),
            ("POST", f"{_ALL}/import", self.take, PlaybookReport, 201),
            ("POST", f"{_ALL}/import-change-set", self.take_change_set, PlaybookReport, 201),
            ("GET", _ONE, self.get, PlaybookReport, 200),
            ("PATCH", _ONE, self.edit, PlaybookReport, 200),
            ("DELETE", _ONE, self.remove, PlaybookReport, 200),
            ("GET", f"{_ONE}/export", self.export, PlaybookText, 200),
            ("GET", f"{_ONE}/tasks", self.tasks, Listing[PlaybookTask], 200),
            ("POST", f"{_ONE}/tasks", self.add_task, PlaybookReport, 201),
            ("GET", f"{_ONE}/runs", self.runs, Listing[PlaybookRun], 200),
            ("POST", f"{_ONE}/runs", self.run, PlaybookRun, 202),
            ("GET", _RUN, self.get_run, PlaybookRun, 200),
            ("POST", f"{_RUN}/cancel", self.cancel_run, PlaybookRun, 202),
            ("PUT", f"{_ONE}/tasks/order", self.order, PlaybookReport, 200),
            ("PATCH", f"{_ONE}/tasks/{{task}}", self.edit_task, PlaybookReport, 200),
            ("DELETE", f"{_ONE}/tasks/{{task}}", self.remove_task, PlaybookReport, 200),
        )
        return table(rows)

    async def find(self, query: Annotated[PlaybookQuery, Query()]) -> Response:
        """List playbooks, newest first, without their tasks."""
        return _PLAYBOOKS.respond(await self._playbooks.find(query.options()))

    async def create(self, request: Request, body: CreatePlaybook) -> Response:
        """Store a play, with tasks or without."""
        return await once(
            request, self._kept, _CREATED, lambda intent: self._playbooks.create(body, intent)
        )

    async def take(self, request: Request, body: ImportPlaybook) -> Response:
        """Store the one play of a YAML text; what cannot be kept is refused, never dropped."""
        return await once(
            request, self._kept, _CREATED, lambda intent: self._playbooks.take(body, intent)
        )

    async def take_change_set(self, request: Request, body: ImportChangeSet) -> Response:
        """Store what a change set brings about; what a playbook cannot say is refused, or told."""
        return await once(
            request,
            self._kept,
            _CREATED,
            lambda intent: self._playbooks.take_change_set(body, intent),
        )

    async def get(self, playbook: PlaybookName, wait: Wait = None) -> Response:
        """Show a playbook with its tasks; with `wait` once Ansible was asked about it."""
        seconds = wait_seconds(wait)
        if seconds is None:
            return _PLAYBOOK.respond(await self._playbooks.get(playbook))
        return _PLAYBOOK.respond(await self._playbooks.wait(playbook, seconds))

    async def edit(self, request: Request, playbook: PlaybookName, body: EditPlaybook) -> Response:
        """Change the fields that are given, of the revision in If-Match when there is one."""
        return _PLAYBOOK.respond(
            await self._playbooks.edit(
                playbook, body, intent_of(request), expected_revision=expected_revision(request)
            )
        )

    async def remove(
        self, request: Request, playbook: PlaybookName, dry_run: DryRun = False
    ) -> Response:
        """Delete a playbook with its tasks and its file; the answer is what it was."""
        if dry_run:
            return _PLAYBOOK.respond(await self._playbooks.get(playbook))
        return _PLAYBOOK.respond(
            await self._playbooks.remove(
                playbook, intent_of(request), expected_revision=expected_revision(request)
            )
        )

    async def export(self, playbook: PlaybookName) -> Response:
        """Give a playbook out as Ansible's YAML."""
        return _TEXT.respond(await self._playbooks.export(playbook))

    async def tasks(self, playbook: PlaybookName) -> Response:
        """List a playbook's tasks in order; all of them, as there are never many."""
        return _TASKS.respond(Listing(items=await self._playbooks.tasks(playbook)))

    async def add_task(self, request: Request, playbook: PlaybookName, body: AddTask) -> Response:
        """Add a task at the end; the answer is the whole playbook."""
        revision = expected_revision(request)
        return await once(
            request,
            self._kept,
            _ADDED,
            lambda intent: self._playbooks.add_task(
                playbook, body, intent, expected_revision=revision
            ),
        )

    async def edit_task(
        self, request: Request, playbook: PlaybookName, task: TaskReference, body: EditTask
    ) -> Response:
        """Change the fields of a task that are given; the answer is the whole playbook."""
        return _PLAYBOOK.respond(
            await self._playbooks.edit_task(
                playbook,
                task,
                body,
                intent_of(request),
                expected_revision=expected_revision(request),
            )
        )

    async def remove_task(
        self, request: Request, playbook: PlaybookName, task: TaskReference
    ) -> Response:
        """Remove a task; the answer is the whole playbook."""
        return _PLAYBOOK.respond(
            await self._playbooks.remove_task(
                playbook, task, intent_of(request), expected_revision=expected_revision(request)
            )
        )

    async def order(self, request: Request, playbook: PlaybookName, body: OrderTasks) -> Response:
        """Give the tasks another order, by the complete list of their ids."""
        return _PLAYBOOK.respond(
            await self._playbooks.order(
                playbook, body, intent_of(request), expected_revision=expected_revision(request)
            )
        )

    async def run(self, request: Request, playbook: PlaybookName, body: RunPlaybook) -> Response:
        """Play a playbook as it is now on sandboxes, at most once on each."""
        return await once(
            request, self._kept, _ASKED, lambda intent: self._runs.run(playbook, body, intent)
        )

    async def runs(
        self, playbook: PlaybookName, query: Annotated[PlaybookRunQuery, Query()]
    ) -> Response:
        """List a playbook's runs without what they said, newest first."""
        return _RUNS.respond(await self._runs.find(playbook, query.options()))

    async def get_run(self, run: RunId, wait: Wait = None) -> Response:
        """Show a run with the recap of each sandbox; with `wait` once it has ended."""
        seconds = wait_seconds(wait)
        if seconds is None:
            return _RUN_FORM.respond(await self._runs.get(run))
        return _RUN_FORM.respond(await self._runs.wait(run, seconds))

    async def cancel_run(self, request: Request, run: RunId) -> Response:
        """End what is played of a run, and never begin the rest."""
        return await once(
            request, self._kept, _CANCELLED, lambda intent: self._runs.cancel(run, intent)
        )
