"""Publications: how far each change set has come into its repository."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from scheduler.cli.moments import age, moment
from scheduler.cli.printing import Pairs, View
from scheduler.cli.tables import Column
from scheduler.cli.views.states import state, text_of

Document = dict[str, Any]
SHORT = 12


def view(now: datetime) -> View:
    """Return the view of publications at a time."""
    return View(
        reference=lambda one: str(one["id"]),
        columns=(
            Column(header="ID", cell=lambda one: text_of(one["id"])),
            Column(header="STATUS", cell=lambda one: state(one["status"])),
            Column(header="JOB", cell=lambda one: text_of(one["job_id"])),
            Column(header="BRANCH", cell=lambda one: text_of(one["branch"])),
            Column(header="REQUEST", cell=lambda one: text_of(one["pr_url"])),
            Column(header="AGE", cell=lambda one: age(one["created_at"], now), right=True),
            Column(header="CHANGE SET", cell=lambda one: text_of(one["change_set_id"]), wide=True),
            Column(header="REPOSITORY", cell=lambda one: text_of(one["repo_url"]), wide=True),
            Column(header="COMMIT", cell=lambda one: _short(one["commit_sha"]), wide=True),
            Column(header="REASON", cell=lambda one: text_of(one["error_msg"]), flexible=True),
        ),
    )


def pairs(one: Document) -> Pairs:
    """Return everything about one publication."""
    told: list[tuple[str, Any]] = [
        ("id", text_of(one["id"])),
        ("status", state(one["status"])),
        ("change set", f"{one['change_set_id']} of job {one['job_id']}"),
        ("repository", f"{one['repo_url']} on {one['forge']}"),
        ("branch", f"{one['branch']} into {one['base'] or 'the default branch'}"),
        ("folder", text_of(one["folder"])),
        ("title", text_of(one["title"])),
        ("commit", text_of(one["commit_sha"])),
        ("request", text_of(one["pr_url"])),
        ("asked for", f"{moment(one['created_at'])} by {one['actor']}"),
    ]
    if one["attempts"]:
        told.append(("attempts", f"{one['attempts']}, next at {moment(one['retry_at'])}"))
    if one["error_msg"]:
        told.append(("reason", f"{one['reason_code']}: {one['error_msg']}"))
    told += [("note", text_of(note)) for note in one["notes"]]
    return told


def _short(sha: str | None) -> str:
    return text_of(sha)[:SHORT]
