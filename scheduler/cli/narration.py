"""Standard error: what happens while a command works, and what to do next.

A terminal gets a spinner below the lines; anything else gets one timestamped line a change, so that
a log of a pipeline reads like a story and never holds an escape sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from scheduler.cli.escaping import printable, printable_lines
from scheduler.cli.failures import Failure
from scheduler.cli.tables import fill, write_drawn, write_plain

if TYPE_CHECKING:
    from rich.status import Status


class Narrator:
    """Tells on one stream; `drawn` when that is a terminal that wants colours."""

    def __init__(self, stream: TextIO, *, drawn: bool) -> None:
        self._stream = stream
        self._drawn = drawn
        self._status: Status | None = None

    def happened(self, text: str, at: datetime) -> None:
        """Tell one change, with its local time."""
        self._write(at.astimezone().strftime("%H:%M:%S"), "dim", text)

    def note(self, text: str) -> None:
        """Tell something that is neither change nor failure."""
        self._write("", "", text)

    def hint(self, text: str) -> None:
        """Say what to do next."""
        self._write("hint:", "cyan", text)

    def failed(self, failure: Failure) -> None:
        """Say what happened, why, and what to do next."""
        self._write("error:", "bold red", failure.message)
        for reason in failure.reasons:
            self._write("", "", f"  {reason}")
        if failure.table is not None:
            columns, documents = failure.table
            table = fill(columns, documents, wide=False)
            (write_drawn if self._drawn else write_plain)(table, self._stream)
        if failure.hint:
            self.hint(failure.hint)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show on a terminal what is being waited for, below the lines told meanwhile."""
        if not self._drawn:
            yield
            return
        from rich.console import Console
        from rich.text import Text

        console = Console(file=self._stream, highlight=False, markup=False, emoji=False)
        # A spinner reads a plain string as markup, whatever its console was told.
        self._status = console.status(Text(printable(text)))
        try:
            with self._status:
                yield
        finally:
            self._status = None

    @contextmanager
    def progressing(self, text: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """Yield what is told of so many bytes more; a terminal is shown how far they are."""
        if not self._drawn:
            yield lambda _bytes: None
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        console = Console(file=self._stream, highlight=False, markup=False, emoji=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(printable(text), total=total, completed=done)
            yield lambda more: progress.advance(task, more)

    def awaited(self, text: str) -> None:
        """Change what a terminal shows as being waited for."""
        if self._status is not None:
            from rich.text import Text

            self._status.update(Text(printable(text)))

    def _write(self, label: str, style: str, text: str) -> None:
        safe = printable_lines(text)
        if not self._drawn:
            self._stream.write(f"{label} {safe}\n" if label else f"{safe}\n")
            self._stream.flush()
            return
        from rich.console import Console
        from rich.text import Text

        line = Text.assemble((label, style), " " if label else "", safe)
        if self._status is not None:
            self._status.console.print(line, soft_wrap=True)
        else:
            console = Console(file=self._stream, highlight=False, markup=False, emoji=False)
            console.print(line, soft_wrap=True)
