"""States in colour: green does its work, yellow is on the way, red needs somebody."""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.cli.tables import Cell

_STYLES: Mapping[str, str] = {
    "RUNNING": "green",
    "ACTIVE": "green",
    "UP": "green",
    "FINISHED": "green",
    "READY": "green",
    "ready": "green",
    "placed": "green",
    "PASSED": "green",
    "passed": "green",
    "MERGED": "green",
    "PR_CREATED": "green",
    "SUCCEEDED": "green",
    "PENDING": "yellow",
    "COMMITTED": "yellow",
    "FAILED": "bold red",
    "CREATED": "yellow",
    "STARTING": "yellow",
    "CORDONED": "yellow",
    "DRAINING": "yellow",
    "SUSPECT": "yellow",
    "UNKNOWN": "yellow",
    "ABORTED": "yellow",
    "RECEIVING": "yellow",
    "FREEZING": "yellow",
    "FETCHING": "yellow",
    "CHECKING": "yellow",
    "wanted": "yellow",
    "copying": "yellow",
    "capacity_exhausted": "yellow",
    "STOPPED": "dim",
    "DESTROYED": "dim",
    "DRAINED": "dim",
    "REMOVING": "dim",
    "EXITED": "dim",
    "KILLED": "yellow",
    "TIMED_OUT": "bold red",
    "INTERRUPTED": "bold red",
    "UNREACHABLE": "bold red",
    "ERROR": "bold red",
    "REFUSED": "bold red",
    "DOWN": "bold red",
    "failed": "bold red",
    "constraint_impossible": "bold red",
}


def state(value: object) -> Cell:
    """Return a state as a cell in its colour."""
    text = text_of(value)
    return Cell(text, _STYLES.get(text, ""))


def text_of(value: object) -> str:
    """Return any value of a document as text; `-` when there is none."""
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={value[key]}" for key in sorted(value))
    if isinstance(value, list):
        return ",".join(text_of(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
