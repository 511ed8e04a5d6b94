"""Runs of playbooks: how each sandbox's play ended, and the recap."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from scheduler.cli.moments import age, moment
from scheduler.cli.printing import Printer, View
from scheduler.cli.tables import Column
from scheduler.cli.views.states import state, text_of

Document = dict[str, Any]

COUNTS = ("ok", "changed", "unreachable", "failed", "skipped", "rescued", "ignored")


def _count(name: str) -> Column:
    def cell(play: Document) -> str:
        return text_of((play["recap"] or {}).get(name))

    return Column(header=name.upper(), cell=cell, right=True)


RECAP = (
    Column(header="SANDBOX", cell=lambda play: text_of(play["sandbox_name"])),
    Column(header="STATUS", cell=lambda play: state(play["status"])),
    *map(_count, COUNTS),
    Column(header="REASON", cell=lambda play: text_of(play["reason"]), flexible=True),
)


def view(now: datetime) -> View:
    """Return the view of runs at a time."""
    return View(
        reference=lambda run: str(run["id"]),
        columns=(
            Column(header="ID", cell=lambda run: text_of(run["id"])),
            Column(header="REVISION", cell=lambda run: text_of(run["revision"]), right=True),
            Column(header="CHECK", cell=lambda run: "yes" if run["check"] else "-"),
            Column(header="AGE", cell=lambda run: age(run["asked_at"], now), right=True),
            Column(header="BY", cell=lambda run: text_of(run["actor"]), wide=True),
            Column(header="SANDBOXES", cell=_statuses, flexible=True),
        ),
    )


def draw(printer: Printer, run: Document) -> None:
    """Print everything about a run but what was said."""
    ended = "-" if run["ended_at"] is None else f"{moment(run['ended_at'])}"
    printer.pairs(
        [
            ("id", text_of(run["id"])),
            ("playbook", f"{run['playbook_name']}, revision {run['revision']}"),
            ("check", "yes, nothing is changed" if run["check"] else "no"),
            ("asked", f"{moment(run['asked_at'])} by {run['actor']}"),
            ("ended", ended),
        ]
    )
    printer.lines([""])
    printer.table(RECAP, run["plays"])


def said(run: Document) -> Iterator[str]:
    """Yield the lines of what was said on each sandbox."""
    for play in run["plays"]:
        yield ""
        yield f"== {play['sandbox_name']}"
        yield from play["log"].splitlines()


def _statuses(run: Document) -> str:
    return ", ".join(f"{play['sandbox_name']} {play['status']}" for play in run["plays"])
