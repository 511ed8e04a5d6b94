"""Change sets: how far each has come, what judged it, what its verification found."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from scheduler.cli.moments import age, moment
from scheduler.cli.printing import Pairs, Printer, View
from scheduler.cli.tables import Column
from scheduler.cli.views.states import state, text_of

Document = dict[str, Any]


def view(now: datetime) -> View:
    """Return the view of change sets at a time."""
    return View(
        reference=lambda one: str(one["id"]),
        columns=(
            Column(header="ID", cell=lambda one: text_of(one["id"])),
            Column(header="JOB", cell=lambda one: text_of(one["job_id"])),
            Column(header="NAME", cell=lambda one: text_of(one["name"])),
            Column(header="STATE", cell=lambda one: state(one["state"])),
            Column(header="IN CODE", cell=lambda one: str(one["wishes"]), right=True),
            Column(header="REVIEW", cell=lambda one: str(one["reviews"]), right=True),
            Column(header="CHECKS", cell=_checked),
            Column(header="VERIFIED", cell=lambda one: state(_verified(one))),
            Column(header="AGE", cell=lambda one: age(one["created_at"], now), right=True),
            Column(header="DIFF", cell=lambda one: text_of(one["diff_id"]), wide=True),
            Column(header="SANDBOX", cell=lambda one: text_of(one["sandbox_id"]), wide=True),
            Column(header="BY", cell=lambda one: text_of(one["actor"]), wide=True),
            Column(header="REASON", cell=lambda one: text_of(one["reason"]), flexible=True),
        ),
    )


def draw(printer: Printer, one: Document) -> None:
    """Print everything about one change set but what tools and play said."""
    printer.pairs(_pairs(one))
    if one["checks"]:
        printer.lines([""])
        printer.table(
            (
                Column(header="TOOL", cell=lambda check: text_of(check["tool"])),
                Column(header="RESULT", cell=lambda check: state(check["result"])),
            ),
            one["checks"],
        )
    remaining = (one["verification"] or {}).get("remaining")
    if remaining:
        printer.lines([""])
        printer.table(
            (
                Column(header="DIFFERS", cell=lambda left: text_of(left["kind"])),
                Column(header="HOW", cell=lambda left: text_of(left["difference"])),
                Column(header="IN REVIEW.md", cell=lambda left: text_of(left["reviewed"])),
                Column(header="NAME", cell=lambda left: text_of(left["name"]), flexible=True),
            ),
            remaining,
        )


def told(one: Document) -> str:
    """Return in a few words how far a change set has come."""
    verification = one["verification"]
    if verification is None:
        return f"change set {one['id']} is {one['state']}"
    return f"the verification of {one['id']} is {verification['phase']}"


def remainder(left: Document) -> str:
    """Return one remaining difference as a line."""
    known = ", as REVIEW.md says" if left["reviewed"] else ""
    return f"{left['kind']} {left['name']} is {left['difference']}{known}"


def said(one: Document) -> Iterator[str]:
    """Yield what the tools and the play said, line by line."""
    for check in one["checks"]:
        if check["output"]:
            yield f"--- {check['tool']}: {check['result']}"
            yield from check["output"].splitlines()
    verification = one["verification"]
    if verification is not None and verification["log"]:
        yield f"--- play on {verification['clone_id']}: {_verified(one)}"
        yield from verification["log"].splitlines()


def _pairs(one: Document) -> Pairs:
    pairs: list[tuple[str, Any]] = [
        ("id", text_of(one["id"])),
        ("job", text_of(one["job_id"])),
        ("state", state(one["state"])),
        ("made of", text_of(one["diff_id"])),
        ("sandbox", text_of(one["sandbox_id"])),
        ("created", f"{moment(one['created_at'])} by {one['actor']}"),
        ("name", text_of(one["name"])),
        ("in code", str(one["wishes"])),
        ("for review", str(one["reviews"])),
        ("ansible", text_of(one["path_ansible"])),
        ("puppet", text_of(one["path_puppet"])),
        ("verified", state(_verified(one))),
    ]
    if one["reason"]:
        pairs.append(("reason", text_of(one["reason"])))
    verification = one["verification"]
    if verification is not None:
        pairs.append(("clone", text_of(verification["clone_id"])))
        if verification["reason"]:
            pairs.append(("found", text_of(verification["reason"])))
    return pairs


def _checked(one: Document) -> str:
    asked = [check for check in one["checks"] if check["result"] != "absent"]
    if not asked:
        return "-"
    passed = sum(1 for check in asked if check["result"] == "passed")
    return f"{passed}/{len(asked)}"


def _verified(one: Document) -> str:
    verification = one["verification"]
    if verification is None:
        return "-"
    return str(verification["result"] or verification["phase"])
