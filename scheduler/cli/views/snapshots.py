"""Snapshots: what each keeps, how far it has come, which one the sandbox stands on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from scheduler.cli.moments import age, moment
from scheduler.cli.printing import Pairs, Printer, View
from scheduler.cli.quantities import short_size
from scheduler.cli.tables import Column
from scheduler.cli.views.states import state, text_of

Document = dict[str, Any]


def view(now: datetime) -> View:
    """Return the view of snapshots at a time."""
    return View(
        reference=lambda snapshot: str(snapshot["name"]),
        columns=(
            Column(header="NAME", cell=lambda one: text_of(one["name"])),
            Column(header="STATE", cell=lambda one: state(one["state"])),
            Column(header="KIND", cell=lambda one: text_of(one["kind"])),
            Column(header="KEEPS", cell=_keeps),
            Column(header="CURRENT", cell=lambda one: "yes" if one["current"] else "-"),
            Column(header="CLAIM", cell=lambda one: short_size(one["claim_mb"]), right=True),
            Column(header="AGE", cell=lambda one: age(one["created_at"], now), right=True),
            Column(header="ID", cell=lambda one: text_of(one["id"]), wide=True),
            Column(header="REF", cell=lambda one: text_of(one["ref"]), wide=True),
            Column(header="MANIFEST", cell=lambda one: text_of(one["manifest_ref"]), wide=True),
            Column(header="REASON", cell=lambda one: text_of(one["reason"]), flexible=True),
        ),
    )


def draw(printer: Printer, snapshot: Document) -> None:
    """Print everything about one snapshot."""
    pairs: list[tuple[str, Any]] = [
        ("name", text_of(snapshot["name"])),
        ("id", text_of(snapshot["id"])),
        ("sandbox", text_of(snapshot["sandbox_id"])),
        ("state", state(snapshot["state"])),
        ("kind", text_of(snapshot["kind"])),
        ("keeps", _keeps(snapshot)),
        ("made", f"{moment(snapshot['created_at'])}"),
        ("parent", text_of(snapshot["parent"])),
        ("ref", text_of(snapshot["ref"])),
        ("files", ", ".join(snapshot["files"]) or "-"),
        ("claim", short_size(snapshot["claim_mb"])),
        ("manifest", text_of(snapshot["manifest_ref"])),
    ]
    for name, field in (("note", "meta_json"), ("reason", "reason")):
        if snapshot[field]:
            pairs.append((name, text_of(snapshot[field])))
    shown: Pairs = pairs
    printer.pairs(shown)


def _keeps(snapshot: Document) -> str:
    if snapshot["memory"]:
        return "disk and memory"
    return "disk, held still" if snapshot["quiesced"] else "disk"
