"""Nothing a guest, host or other user chose may command a terminal or mislead a reader."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.cli.escaping import printable, printable_json, printable_lines

NASTY = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "a\rb",
    "a\tb",
    "a\nb",
    "\x9b31m",
    "\x7f",
    "user\u202etxt.exe",
    "\u2066x\u2069",
    "zero\u200bwidth",
    "\u2028",
    "\ud800",
    "\U000e0041tag",
]


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_control_and_bidi_characters_are_shown_as_escapes(text: str) -> None:
    safe = printable(text)
    assert safe.isprintable()
    assert safe != text


def test_what_is_printable_stays() -> None:
    assert printable("größe 大 🙂 \\x1b") == "größe 大 🙂 \\x1b"


def test_lines_stay_lines() -> None:
    assert printable_lines("one\ntwo\x1b[2J") == "one\ntwo\\x1b[2J"


@given(st.text())
def test_no_text_ever_yields_a_control_character(text: str) -> None:
    assert not any(unicodedata.category(char)[0] == "C" for char in printable(text))


@given(st.dictionaries(st.text(), st.text()))
def test_escaped_json_means_the_same(document: dict[str, str]) -> None:
    text = printable_json(json.dumps(document, ensure_ascii=False, indent=2))
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == document
