"""Playbooks as they are answered: the play with its tasks in order, or as Ansible's YAML."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from scheduler.changes.plays import render
from scheduler.model import Playbook, PlaybookTask
from scheduler.store import ListOptions, Transaction

_ALL = ListOptions(limit=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookReport:
    """A playbook with its tasks, in order."""

    id: str
    name: str
    hosts: str
    become: bool
    revision: int
    file_path: str | None
    """Where its current revision is, or is about to be, written on the control node."""
    checked_revision: int | None
    """The revision that Ansible was asked about last; null when it never was."""
    check_fault: str | None
    """What Ansible said against that revision; null when nothing."""
    created_at: datetime
    updated_at: datetime
    tasks: tuple[PlaybookTask, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookText:
    """A playbook as Ansible reads it."""

    name: str
    revision: int
    yaml: str


def report_of(tx: Transaction, playbook: Playbook) -> PlaybookReport:
    """Return a playbook with its tasks."""
    return PlaybookReport(
        id=playbook.id,
        name=playbook.name,
        hosts=playbook.hosts,
        become=playbook.become,
        revision=playbook.revision,
        file_path=playbook.file_path,
        checked_revision=playbook.checked_revision,
        check_fault=playbook.check_fault,
        created_at=playbook.created_at,
        updated_at=playbook.updated_at,
        tasks=tasks_of(tx, playbook),
    )


def tasks_of(tx: Transaction, playbook: Playbook) -> tuple[PlaybookTask, ...]:
    """Return a playbook's tasks in order."""
    return tuple(tx.playbook_tasks.find(playbook.id, _ALL).items)


def rendered(report: PlaybookReport) -> str:
    """Return a playbook as Ansible's YAML."""
    return render(report.name, report.hosts, report.become, report.tasks)
