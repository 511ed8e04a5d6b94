"""Commands in guests: how each ended, how long it took, what it was."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from scheduler.cli.moments import age, moment
from scheduler.cli.printing import Pairs, View
from scheduler.cli.tables import Column
from scheduler.cli.views.states import state, text_of

Document = dict[str, Any]


def view(now: datetime) -> View:
    """Return the view of commands at a time."""
    return View(
        reference=lambda command: str(command["id"]),
        columns=(
            Column(header="ID", cell=lambda command: text_of(command["id"])),
            Column(header="STATUS", cell=lambda command: state(command["status"])),
            Column(header="EXIT", cell=lambda command: text_of(command["exit_code"]), right=True),
            Column(header="AGE", cell=lambda command: age(command["started_at"], now), right=True),
            Column(header="OUTPUT", cell=_written, right=True),
            Column(header="BY", cell=lambda command: text_of(command["actor"]), wide=True),
            Column(header="USER", cell=lambda command: _asked(command, "user"), wide=True),
            Column(
                header="COMMAND", cell=lambda command: text_of(command["command"]), flexible=True
            ),
        ),
    )


def detail(command: Document) -> Pairs:
    """Return everything about one command but its output."""
    pairs: list[tuple[str, Any]] = [
        ("id", text_of(command["id"])),
        ("sandbox", text_of(command["sandbox_id"])),
        ("command", text_of(command["command"])),
        ("status", state(command["status"])),
        ("exit code", text_of(command["exit_code"])),
        ("started", f"{moment(command['started_at'])} by {command['actor'] or 'nobody known'}"),
        ("ended", f"{moment(command['ended_at'])}" if command["ended_at"] else "-"),
        ("user", _asked(command, "user")),
        ("directory", _asked(command, "work_dir")),
        ("time limit", f"{_asked(command, 'timeout')} s"),
        ("environment", text_of(json.loads(command["env_json"] or "[]"))),
        ("redacted", _asked(command, "redacted")),
        ("wrote", f"{command['stdout_bytes']} bytes, {command['stderr_bytes']} to stderr"),
    ]
    if command["truncated"]:
        pairs.append(("kept", "not all of it"))
    if command["reason"]:
        pairs.append(("reason", text_of(command["reason"])))
    if command["kill_unconfirmed"]:
        pairs.append(("caution", "nothing proves that none of it runs in the guest any more"))
    return pairs


def _asked(command: Document, name: str) -> str:
    return text_of((command["metadata"] or {}).get(name))


def _written(command: Document) -> str:
    cut = "+" if command["truncated"] else ""
    return f"{command['stdout_bytes'] + command['stderr_bytes']}{cut}"
