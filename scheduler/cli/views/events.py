"""Events as lines: one sentence each, and columns that stay aligned while they stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scheduler.cli.moments import absolute
from scheduler.cli.views.states import text_of

Document = dict[str, Any]

COLUMNS: Sequence[tuple[str, int]] = (
    ("SEQ", 8),
    ("TIME", 25),
    ("KIND", 18),
    ("SUBJECT", 30),
    ("ACTOR", 12),
    ("WHAT", 0),
)


def header() -> str:
    """Return the headers above `line`s."""
    return _aligned([name for name, _ in COLUMNS])


def line(event: Document) -> str:
    """Return one event as one aligned line."""
    subject = event.get("sandbox_id") or event.get("host_id")
    return _aligned(
        [
            text_of(event.get("seq")),
            absolute(event.get("at")),
            text_of(event.get("kind")),
            text_of(subject),
            text_of(event.get("actor")),
            _what(event),
        ]
    )


def sentence(event: Document) -> str:
    """Return what happened as one sentence, without time and subject."""
    return f"{event.get('kind')}: {_what(event)}"


def new_state(event: Document) -> object:
    """Return the state that the event brought about, None when it changed none."""
    return (event.get("evidence") or {}).get("to")


def _what(event: Document) -> str:
    evidence = event.get("evidence") or {}
    step = f"{evidence['from']} -> {evidence['to']}" if {"from", "to"} <= set(evidence) else ""
    why = event.get("message") or event.get("reason_code") or ""
    return f"{step}: {why}" if step and why else step or why or "-"


def _aligned(cells: Sequence[str]) -> str:
    widths = [width for _, width in COLUMNS]
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
