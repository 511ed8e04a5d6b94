"""Standard output: the data, in the form that was asked for.

`table` and `wide` are for people and may change; `json` and `yaml` carry the API's own keys; `name`
is one reference a line, ready for xargs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TextIO

from scheduler.cli.escaping import printable, printable_json
from scheduler.cli.tables import Cell, Column, Table, fill, write_drawn, write_plain, write_styled

Document = dict[str, Any]
Pairs = Sequence[tuple[str, str | Cell]]


class Format(StrEnum):
    """The forms of `-o`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How one kind of document is shown."""

    columns: Sequence[Column]
    reference: Callable[[Document], str]
    """What `-o name` prints: the text that other commands accept for this document."""


class Printer:
    """Writes documents to one stream; `drawn` when that is a terminal that wants colours."""

    def __init__(self, stream: TextIO, form: Format, *, drawn: bool) -> None:
        self.form = form
        self._stream = stream
        self._drawn = drawn

    @property
    def structured(self) -> bool:
        """Return whether the output is for machines."""
        return self.form in (Format.JSON, Format.YAML)

    @property
    def for_people(self) -> bool:
        """Return whether the output is a table, which people look at."""
        return self.form in (Format.TABLE, Format.WIDE)

    def many(
        self, documents: Iterable[Document], view: View, rows: Iterable[Document] | None = None
    ) -> None:
        """Print a listing: one array, or a table of the documents or of `rows` made from them."""
        found = list(documents)
        if self.structured:
            self.document(found)
        elif self.form is Format.NAME:
            self.lines(view.reference(document) for document in found)
        else:
            self.table(view.columns, found if rows is None else rows)

    def one(self, document: Document, view: View, detail: Pairs | None = None) -> None:
        """Print one record: its row, or `detail` as a list of fields."""
        if self.structured:
            self.document(document)
        elif self.form is Format.NAME:
            self.lines([view.reference(document)])
        elif detail is None:
            self.table(view.columns, [document])
        else:
            self.pairs(detail)

    def drawing(
        self, document: Document, references: Iterable[str], draw: Callable[[Printer], None]
    ) -> None:
        """Print a document that people are shown as several tables rather than one row."""
        if self.structured:
            self.document(document)
        elif self.form is Format.NAME:
            self.lines(references)
        else:
            draw(self)

    def value(self, document: Mapping[str, Any], text: str) -> None:
        """Print a document that people know as one bare word, such as an address."""
        if self.structured:
            self.document(document)
        else:
            self.lines([text])

    def document(self, document: object) -> None:
        """Print any document as JSON or YAML."""
        if self.form is Format.YAML:
            import yaml

            self._stream.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=False))
        else:
            text = json.dumps(document, indent=2, ensure_ascii=False)
            self._stream.write(printable_json(text) + "\n")
        self._stream.flush()

    def streamed(self, document: Document, line: str) -> None:
        """Print one document of an endless stream: a line of text or JSON, or a YAML document."""
        if self.form is Format.JSON:
            text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
            self._stream.write(printable_json(text) + "\n")
        elif self.form is Format.YAML:
            self._stream.write("---\n")
            self.document(document)
        else:
            self._stream.write(printable(line) + "\n")
        self._stream.flush()

    def table(self, columns: Iterable[Column], documents: Iterable[Document]) -> None:
        """Print a table whatever the form says; for parts of a larger picture."""
        self._write(fill(columns, documents, wide=self.form is Format.WIDE))

    def pairs(self, pairs: Pairs) -> None:
        """Print named fields, one a line."""
        columns = (
            Column(header="FIELD", cell=lambda pair: Cell(f"{pair['name']}:", "bold")),
            Column(header="VALUE", cell=lambda pair: pair["value"], flexible=True),
        )
        rows = [{"name": name, "value": value} for name, value in pairs]
        self._write(replace(fill(columns, rows, wide=False), headed=False))

    def _write(self, table: Table) -> None:
        (write_drawn if self._drawn else write_plain)(table, self._stream)
        self._stream.flush()

    def lines(self, texts: Iterable[str]) -> None:
        """Print bare lines."""
        for text in texts:
            self._stream.write(printable(text) + "\n")
        self._stream.flush()

    def styled(self, lines: Iterable[tuple[str, str]]) -> None:
        """Print bare lines, each in its style on a terminal."""
        if self._drawn:
            write_styled(lines, self._stream)
            self._stream.flush()
        else:
            self.lines(text for text, _ in lines)
