"""What the doctor found, one check a row, and the command that mends it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from scheduler.cli.printing import Printer
from scheduler.cli.tables import Cell, Column
from scheduler.cli.views.states import text_of

Document = dict[str, Any]

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "unknown": "dim"}

COLUMNS = (
    Column(header="WHERE", cell=lambda check: text_of(check["subject"])),
    Column(header="CHECK", cell=lambda check: text_of(check["name"])),
    Column(header="VERDICT", cell=lambda check: _verdict(check)),
    Column(header="WHAT", cell=lambda check: text_of(check["message"]), flexible=True),
    Column(header="MEND IT WITH", cell=lambda check: text_of(check.get("remedy")), flexible=True),
)


def draw(printer: Printer, report: Document, shown: Sequence[Document]) -> None:
    """Print the checks that are shown, then the outcome of all."""
    if shown:
        printer.table(COLUMNS, shown)
        printer.lines([""])
    printer.lines([summary(report)])


def references(checks: Iterable[Document]) -> list[str]:
    """Return each check by where it was made and by its name."""
    return [f"{check['subject']}: {check['name']}" for check in checks]


def summary(report: Document) -> str:
    """Return the outcome in one line."""
    counts = Counter(str(check["verdict"]) for check in report["checks"])
    told = ", ".join(
        f"{counts[verdict]} {word}"
        for verdict, word in (
            ("failed", "failed"),
            ("warning", "with a warning"),
            ("unknown", "not known"),
            ("ok", "as they should be"),
        )
        if counts[verdict]
    )
    return f"{'healthy' if report['healthy'] else 'not healthy'}: {told}"


def _verdict(check: Document) -> Cell:
    verdict = str(check["verdict"])
    return Cell(verdict, _STYLES.get(verdict, ""))
