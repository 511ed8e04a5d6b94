"""Tables: plain aligned columns for files and pipes, drawn by rich on a terminal.

Every cell passes through `printable` here, the one place where documents become lines, so that no
view can forget it. Columns are never cut to fit: a narrow terminal wraps rather than hides an id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from scheduler.cli.escaping import printable

GAP = "  "
_FLEXIBLE_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's text and, for terminals, its rich style."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its header and how a document fills it."""

    header: str
    cell: Callable[[dict[str, Any]], str | Cell]
    wide: bool = False
    """Shown with `-o wide` only."""
    right: bool = False
    flexible: bool = False
    """May be folded on a terminal when room is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Filled columns, ready to draw."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    headed: bool = True


def fill(columns: Iterable[Column], documents: Iterable[dict[str, Any]], *, wide: bool) -> Table:
    """Return the table of these documents, its cells safe to print."""
    shown = [column for column in columns if wide or not column.wide]
    rows = [[_cell(column.cell(document)) for column in shown] for document in documents]
    return Table(columns=shown, rows=rows)


def write_plain(table: Table, stream: TextIO) -> None:
    """Write aligned columns; the last one is not padded."""
    widths = _widths(table)
    headers = [[Cell(column.header) for column in table.columns]] if table.headed else []
    for row in (*headers, *table.rows):
        cells = [
            cell.text.rjust(width) if column.right else cell.text.ljust(width)
            for cell, column, width in zip(row, table.columns, widths, strict=True)
        ]
        stream.write(GAP.join(cells).rstrip() + "\n")


def write_drawn(table: Table, stream: TextIO) -> None:
    """Draw the table for a terminal, as wide as it must be and no wider than it may."""
    from rich import table as drawing
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    console.width = max(console.width, _least_width(table))
    drawn = drawing.Table(
        box=None,
        header_style="bold",
        show_header=table.headed,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for column, width in zip(table.columns, _widths(table), strict=True):
        drawn.add_column(
            Text(column.header),
            justify="right" if column.right else "left",
            no_wrap=not column.flexible,
            min_width=min(width, _FLEXIBLE_WIDTH) if column.flexible else width,
            overflow="fold",
        )
    for row in table.rows:
        drawn.add_row(*(Text(cell.text, cell.style) for cell in row))
    console.print(drawn)


def write_styled(lines: Iterable[tuple[str, str]], stream: TextIO) -> None:
    """Write bare lines for a terminal, each in its style; they are safe to print."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
    for line, style in lines:
        console.print(Text(printable(line), style))


def _cell(value: str | Cell) -> Cell:
    if isinstance(value, Cell):
        return Cell(printable(value.text), value.style)
    return Cell(printable(value))


def _widths(table: Table) -> list[int]:
    return [
        max(
            len(column.header) if table.headed else 0, *(len(row[at].text) for row in table.rows), 0
        )
        for at, column in enumerate(table.columns)
    ]


def _least_width(table: Table) -> int:
    return sum(
        len(GAP) + (min(width, _FLEXIBLE_WIDTH) if column.flexible else width)
        for column, width in zip(table.columns, _widths(table), strict=True)
    )
