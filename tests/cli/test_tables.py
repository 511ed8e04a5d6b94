"""Tables: aligned off a terminal, drawn on one, and never a way around escaping."""

from __future__ import annotations

import io

from scheduler.cli.tables import Cell, Column, fill, write_drawn, write_plain

COLUMNS = (
    Column(header="NAME", cell=lambda row: row["name"]),
    Column(header="USED", cell=lambda row: str(row["used"]), right=True),
    Column(header="ZONE", cell=lambda row: row["zone"], wide=True),
    Column(header="WHY", cell=lambda row: Cell(row["why"], "red"), flexible=True),
)
ROWS = [
    {"name": "a", "used": 7, "zone": "z1", "why": "short"},
    {"name": "longer", "used": 1234, "zone": "z2", "why": "word " * 40},
]


def plain(*, wide: bool = False) -> list[str]:
    stream = io.StringIO()
    write_plain(fill(COLUMNS, ROWS, wide=wide), stream)
    return stream.getvalue().splitlines()


def drawn() -> str:
    stream = io.StringIO()
    write_drawn(fill(COLUMNS, ROWS, wide=False), stream)
    return stream.getvalue()


def test_plain_columns_are_aligned_and_not_padded_at_the_end() -> None:
    header, first, second = plain()
    assert header == "NAME    USED  WHY"
    assert first == "a          7  short"
    assert second.startswith("longer  1234  word word")
    assert not any(line.endswith(" ") for line in (header, first))


def test_wide_adds_columns() -> None:
    assert plain(wide=True)[0].split() == ["NAME", "USED", "ZONE", "WHY"]


def test_an_empty_table_is_its_header() -> None:
    stream = io.StringIO()
    write_plain(fill(COLUMNS, [], wide=False), stream)
    assert stream.getvalue() == "NAME  USED  WHY\n"


def test_a_drawn_table_folds_only_what_may_be_folded() -> None:
    lines = drawn().splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["a", "longer"]
    assert len(lines) > 4, "the long reason is folded over several lines"
    assert " ".join(drawn().split()).count("word") == 40


def test_cells_are_escaped_in_both_forms() -> None:
    rows = [{"name": "x\x1b[2J", "used": 0, "zone": "", "why": "[bold]not markup[/bold]\u202e"}]
    table = fill(COLUMNS, rows, wide=False)
    for write in (write_plain, write_drawn):
        stream = io.StringIO()
        write(table, stream)
        assert "x\\x1b[2J" in stream.getvalue()
        assert "[bold]not" in stream.getvalue()
        assert "\x1b" not in stream.getvalue()
        assert "\u202e" not in stream.getvalue()
