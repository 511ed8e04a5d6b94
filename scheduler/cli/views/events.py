"""Events as rows and, while they stream, as lines of the same columns; and as told sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduler.cli.moments import absolute
from scheduler.cli.printing import View
from scheduler.cli.tables import GAP, Column
from scheduler.cli.views.states import text_of

Document = dict[str, Any]
Names = Mapping[str, str]
"""From ids to names."""

# While events stream, nobody knows how wide a column will have to be.
_WIDTHS = (6, 25, 22, 30, 10, 0)


def line(event: Document, view: View) -> str:
    """Return one event as a line of aligned columns."""
    return _aligned([str(column.cell(event)) for column in view.columns])


def header(view: View) -> str:
    """Return the headers above `line`s."""
    return _aligned([column.header for column in view.columns])


def sentence(event: Document, names: Names | None = None) -> str:
    """Return what happened as one sentence; it begins with whom when there are `names`."""
    whom = "" if names is None else f"{_subject(event, names)} "
    return whom + (_change(event) or f"{_kind(event)}: {_why(event)}")


def _what(event: Document) -> str:
    return _change(event) or _why(event) or "-"


def _change(event: Document) -> str:
    """Return what changed from what to what, and why; empty for an event that is no change."""
    field = str(event["kind"]).partition(".")[2]
    evidence = event["evidence"]
    if not {"from", "to"} <= set(evidence):
        return ""
    if field == "condition":
        return f"conditions: {', '.join(evidence['to']) or 'none'}"
    if field == "lease":
        return f"expires: {absolute(evidence['to'])}"
    words = {
        "state": f"{evidence['from']} -> {evidence['to']}",
        "health": f"{evidence['from']} -> {evidence['to']}",
        "desired": f"is to be {evidence['to']}",
    }
    return f"{words.get(field, _kind(event))}: {_why(event)}"


def _why(event: Document) -> str:
    return str(event.get("message") or event.get("reason_code") or "")


def _kind(event: Document) -> str:
    return str(event["kind"]).removeprefix("sandbox.").replace(".", " ").replace("_", " ")


def _subject(event: Document, names: Names) -> str:
    subject = text_of(event.get("sandbox_id") or event.get("host_id"))
    return names.get(subject, subject)


def _aligned(cells: list[str]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    return GAP.join(padded).rstrip()


def view(names: Names) -> View:
    """Return the view of events; `names` has what to call subjects that people know by name."""
    return View(
        reference=lambda event: str(event["seq"]),
        columns=(
            Column(header="SEQ", cell=lambda event: text_of(event["seq"])),
            Column(header="TIME", cell=lambda event: absolute(event["at"])),
            Column(header="KIND", cell=lambda event: text_of(event["kind"])),
            Column(header="SUBJECT", cell=lambda event: _subject(event, names)),
            Column(header="ACTOR", cell=lambda event: text_of(event["actor"])),
            Column(header="WHAT", cell=_what, flexible=True),
        ),
    )
