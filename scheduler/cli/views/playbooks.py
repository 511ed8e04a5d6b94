"""Playbooks: their tasks in order, and what Ansible says to them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from scheduler.cli.moments import age, moment
from scheduler.cli.printing import Pairs, Printer, View
from scheduler.cli.tables import Cell, Column
from scheduler.cli.views.states import text_of

Document = dict[str, Any]

TASKS = (
    Column(header="#", cell=lambda task: str(task["number"]), right=True),
    Column(header="TASK", cell=lambda task: text_of(task["name"])),
    Column(header="MODULE", cell=lambda task: text_of(task["module"])),
    Column(header="PARAMETERS", cell=lambda task: _params(task["params"]), flexible=True),
    Column(header="DATA", cell=lambda task: "literal" if task["literal"] else "-"),
    Column(header="ID", cell=lambda task: text_of(task["id"]), wide=True),
)


def view(now: datetime) -> View:
    """Return the view of playbooks at a time."""
    return View(
        reference=lambda playbook: str(playbook["name"]),
        columns=(
            Column(header="NAME", cell=lambda playbook: text_of(playbook["name"])),
            Column(header="HOSTS", cell=lambda playbook: text_of(playbook["hosts"])),
            Column(header="BECOME", cell=lambda playbook: "yes" if playbook["become"] else "-"),
            Column(header="REVISION", cell=lambda one: text_of(one["revision"]), right=True),
            Column(header="CHECKED", cell=checked),
            Column(header="AGE", cell=lambda one: age(one["created_at"], now), right=True),
            Column(header="ID", cell=lambda playbook: text_of(playbook["id"]), wide=True),
            Column(header="FILE", cell=lambda one: text_of(one["file_path"]), wide=True),
        ),
    )


def draw(printer: Printer, playbook: Document) -> None:
    """Print everything about one playbook."""
    printer.pairs(_pairs(playbook))
    if playbook["tasks"]:
        printer.lines([""])
        printer.table(TASKS, numbered(playbook))


def numbered(playbook: Document) -> list[Document]:
    """Return the tasks with the numbers that people call them by."""
    return [{**task, "number": number} for number, task in enumerate(playbook["tasks"], 1)]


def checked(playbook: Document) -> Cell:
    """Return what Ansible says to the revision that is there now."""
    if playbook["checked_revision"] != playbook["revision"]:
        return Cell("-")
    return Cell("invalid", "bold red") if playbook["check_fault"] else Cell("valid", "green")


def _pairs(playbook: Document) -> Pairs:
    pairs: list[tuple[str, Any]] = [
        ("name", text_of(playbook["name"])),
        ("id", text_of(playbook["id"])),
        ("hosts", text_of(playbook["hosts"])),
        ("become", "yes" if playbook["become"] else "no"),
        ("revision", f"{playbook['revision']}, of {moment(playbook['updated_at'])}"),
        ("checked", checked(playbook)),
        ("file", text_of(playbook["file_path"])),
        ("tasks", str(len(playbook["tasks"]))),
    ]
    if checked(playbook).text == "invalid":
        pairs.append(("Ansible says", text_of(playbook["check_fault"])))
    return pairs


def _params(params: Document) -> str:
    return json.dumps(params, ensure_ascii=False) if params else "-"
