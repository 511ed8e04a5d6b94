"""The SSH authorities: what each is for, and who trusts it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from scheduler.cli.moments import age, moment
from scheduler.cli.printing import Printer, View
from scheduler.cli.tables import Column
from scheduler.cli.views.states import text_of

Document = dict[str, Any]


def view(now: datetime) -> View:
    """Return the view of authorities at a time."""
    return View(
        reference=lambda one: str(one["name"]),
        columns=(
            Column(header="NAME", cell=lambda one: text_of(one["name"])),
            Column(header="STATE", cell=lambda one: text_of(one["state"])),
            Column(header="AGE", cell=lambda one: age(one["created_at"], now), right=True),
            Column(header="GUESTS", cell=lambda one: str(one["guests"]), right=True),
            Column(header="FINGERPRINT", cell=lambda one: text_of(one["fingerprint"])),
            Column(header="BY", cell=lambda one: text_of(one["created_by"]), wide=True),
            Column(header="RETIRED", cell=_retired, wide=True),
            Column(header="ID", cell=lambda one: text_of(one["id"]), wide=True),
        ),
    )


def draw(printer: Printer, one: Document) -> None:
    """Print everything about one authority."""
    more = one["guests"] - len(one["sandboxes"])
    named = ", ".join(one["sandboxes"]) + (f" and {more} more" if more > 0 else "")
    made = f"{moment(one['created_at'])} by {one['created_by']}"
    printer.pairs(
        [
            ("name", text_of(one["name"])),
            ("id", text_of(one["id"])),
            ("state", text_of(one["state"])),
            ("kept by", "systemd, as a credential" if one["given"] else "the state directory"),
            ("fingerprint", text_of(one["fingerprint"])),
            ("public key", text_of(one["public_key"])),
            ("made", made),
            ("retired", _retired(one)),
            ("guests", f"{one['guests']}: {named}" if one["guests"] else "none"),
            ("source VMs", ", ".join(one["source_vms"]) or "none"),
        ]
    )


def _retired(one: Document) -> str:
    if one["retired_at"] is None:
        return "-"
    return f"{moment(one['retired_at'])} by {one['retired_by']}"
