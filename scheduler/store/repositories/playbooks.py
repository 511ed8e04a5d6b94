"""Playbooks: named once, edited against a revision, removed with their tasks."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select

from scheduler.errors import StaleRevision
from scheduler.model import Playbook
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository, absent
from scheduler.store.statements import inserted, overwritten, removed, selected
from scheduler.store.tables import PLAYBOOK_TASKS, PLAYBOOKS

_COLUMNS = PLAYBOOKS.table.c
_INSERT = inserted(PLAYBOOKS)
_BY_ID = selected(PLAYBOOKS, "id")
_BY_NAME = selected(PLAYBOOKS, "name")
_OVERWRITE = overwritten(PLAYBOOKS, "id", "revision", keep=("id", "created_at"))
_REMOVE = removed(PLAYBOOKS, "id")
_REMOVE_TASKS = removed(PLAYBOOK_TASKS, "playbook_id")
_ORDER = Order(
    keys={name: _COLUMNS[name] for name in ("created_at", "updated_at", "name")},
    id=_COLUMNS.id,
    default="created_at",
)


class Playbooks(Repository):
    """The playbooks' repository."""

    __slots__ = ()

    def add(self, playbook: Playbook) -> Playbook:
        """Write a new playbook; `AlreadyExists` when its name is taken."""
        self._insert(PLAYBOOKS, _INSERT, playbook)
        return playbook

    def get(self, id: str) -> Playbook:
        """Return a playbook; `NotFound` when there is none."""
        return self._one(PLAYBOOKS, _BY_ID, id)

    def by_name(self, name: str) -> Playbook:
        """Return the playbook of this name; `NotFound` when there is none."""
        return self._one(PLAYBOOKS, _BY_NAME, name)

    def find(self, options: ListOptions | None = None) -> Page[Playbook]:
        """Return a page of the playbooks, newest first unless asked otherwise.

        Raises `Unreadable`: the file of one that is not there is removed.
        """
        return self._page(PLAYBOOKS, select(PLAYBOOKS.table), _ORDER, options, whole=True)

    def replace(self, playbook: Playbook, *, expected_revision: int) -> Playbook:
        """Write an edit; `StaleRevision` when somebody else edited it since."""
        edited = replace(playbook, revision=expected_revision + 1, updated_at=self._clock.now())
        parameters = [*PLAYBOOKS.row(edited), playbook.id, expected_revision]
        if not self._change(PLAYBOOKS, _OVERWRITE, parameters, edited):
            current = self.get(playbook.id)
            raise StaleRevision(
                f"playbook {current.name} was edited meanwhile",
                remedy="Read it again and edit that.",
                details={"revision": current.revision, "expected": expected_revision},
            )
        return self.get(playbook.id)

    def note(
        self, id: str, *, revision: int, file_path: str, checked: bool, fault: str | None
    ) -> bool:
        """Record where a revision was written and what Ansible said to it; no edit by itself.

        Return False when it was edited or removed meanwhile: then nothing is recorded.
        """
        row = self._cursor.row(_BY_ID, id)
        if row is None:
            return False
        current = PLAYBOOKS.entity(row)
        noted = replace(
            current,
            file_path=file_path,
            checked_revision=revision if checked else current.checked_revision,
            check_fault=fault if checked else current.check_fault,
        )
        return self._change(PLAYBOOKS, _OVERWRITE, [*PLAYBOOKS.row(noted), id, revision], noted)

    def remove(self, id: str) -> None:
        """Remove a playbook and all its tasks; `NotFound` when there is none."""
        self._cursor.change(_REMOVE_TASKS, (id,))
        if not self._cursor.change(_REMOVE, (id,)):
            raise absent(PLAYBOOKS, id)
