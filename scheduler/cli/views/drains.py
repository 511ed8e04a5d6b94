"""Drains: how far one has come, and what it would do to each sandbox."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from scheduler.cli.moments import age, moment, remaining
from scheduler.cli.printing import Printer, View
from scheduler.cli.tables import Cell, Column
from scheduler.cli.views.states import state, text_of

Document = dict[str, Any]
_MOVED = {"move": "once moved", "wait": "in its turn"}
"""When a drain's move has a sandbox gone, which nobody knows by the clock."""


def view(now: datetime) -> View:
    """Return the view of drains at a time."""
    return View(
        reference=lambda drain: str(drain["host_name"]),
        columns=(
            Column(header="HOST", cell=lambda drain: text_of(drain["host_name"])),
            Column(header="STATE", cell=lambda drain: state(drain["host_state"])),
            Column(header="DRAIN", cell=lambda drain: state(drain["state"])),
            Column(header="POLICY", cell=lambda drain: text_of(drain["policy"])),
            Column(header="GONE", cell=_gone, right=True),
            Column(header="DEADLINE", cell=lambda drain: _deadline(drain, now), right=True),
            Column(header="THEN", cell=lambda drain: text_of(drain["on_deadline"])),
            Column(header="BY", cell=lambda drain: text_of(drain["actor"]), wide=True),
            Column(header="FOR", cell=lambda drain: _lasted(drain, now), right=True),
            Column(header="ID", cell=lambda drain: text_of(drain["id"]), wide=True),
            Column(header="REASON", cell=lambda drain: text_of(drain.get("reason")), flexible=True),
        ),
    )


def draw_plan(printer: Printer, plan: Document, now: datetime) -> None:
    """Print what a drain would do to each sandbox, what is in the way, and when it would end."""
    if not plan["actions"]:
        printer.lines(["nothing is on the host"])
        return
    printer.table(
        (
            Column(header="SANDBOX", cell=lambda action: text_of(action["sandbox_name"])),
            Column(header="ID", cell=lambda action: text_of(action["sandbox_id"])),
            Column(header="AGENT", cell=lambda action: text_of(action.get("agent_id"))),
            Column(header="ACTION", cell=_action),
            Column(header="GONE", cell=lambda action: _due(action, now, plan.get("policy"))),
            Column(header="BLOCKER", cell=_blocker, flexible=True),
        ),
        plan["actions"],
    )
    count, blocked = len(plan["actions"]), plan.get("blockers") or []
    printer.lines(["", f"{count} on the host, {len(blocked)} blocked, {_empty(plan, now)}"])


def _action(action: Document) -> str:
    return "moving" if action.get("moving") else text_of(action["verb"])


def _due(action: Document, now: datetime, policy: object) -> str:
    """Return when it will be gone, the latest where a move may end sooner."""
    left = remaining(action.get("due_at"), now)
    leaves = policy == "move" and not action.get("blocker")
    otherwise = _MOVED.get(str(action["verb"]), "never") if leaves else "never"
    return {"due": "now", "-": otherwise}.get(left, f"in {left}")


def _empty(plan: Document, now: datetime) -> str:
    if plan.get("eta") is None:
        return "nobody knows when it will be empty"
    left = remaining(plan["eta"], now)
    return "empty as soon as they are gone" if left == "due" else f"empty in {left}"


def _lasted(drain: Document, now: datetime) -> str:
    return age(drain["started_at"], moment(drain.get("ended_at")) or now)


def _gone(drain: Document) -> str:
    return f"{drain['total'] - drain['remaining']}/{drain['total']}"


def _deadline(drain: Document, now: datetime) -> str:
    return remaining(drain.get("deadline_at"), now) if drain["state"] == "ACTIVE" else "-"


def _blocker(action: Document) -> Cell:
    blocker = action.get("blocker")
    return Cell(text_of(blocker), "yellow" if blocker else "")
