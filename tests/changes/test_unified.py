"""Changed text files line by line, and why others are not shown."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from scheduler.changes.unified import MOST_FILES, MOST_LINES, FileText, texts
from scheduler.model import Delta, FileChange, ManifestEntry
from tests.changes.manifests import directory, file, link

KEPT: Mapping[str, bytes] = {
    "a" * 64: b"one\ntwo\n",
    "b" * 64: b"one\n2",
    "c" * 64: b"\0",
    "d" * 64: b"\xff",
    "e" * 64: b"x\n" * (MOST_LINES + 1),
}


def shown(*changes: FileChange) -> list[FileText]:
    return [*texts(Delta(files=changes), KEPT.get)]


def change(before: ManifestEntry | None, after: ManifestEntry | None) -> FileChange:
    return FileChange(before=before, after=after)


def test_a_changed_text() -> None:
    (text,) = shown(change(file("/etc/a"), file("/etc/a", "b")))
    assert text.text == (
        "--- a/etc/a\n+++ b/etc/a\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n\\ No newline at end of file"
    )


def test_a_file_that_came_and_one_that_was_empty() -> None:
    empty = file("/etc/e", size=0)
    came, filled = shown(change(None, file("/etc/a")), change(empty, file("/etc/e")))
    for one in (came, filled):
        assert (one.text or "").endswith("@@ -0,0 +1,2 @@\n+one\n+two")


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (file("/etc/a", "c"), "no text"),
        (file("/etc/a", "d"), "no text"),
        (file("/etc/a", "e"), "more than"),
        (file("/etc/a", "f"), "not kept"),
        (file("/etc/a", sha256=None, size=2), "not kept"),
    ],
)
def test_why_a_file_is_not_shown(after: ManifestEntry, reason: str) -> None:
    (text,) = shown(change(file("/etc/a"), after))
    assert text.text is None
    assert reason in str(text.reason)


def test_what_holds_no_lines_is_passed_over() -> None:
    assert not shown(
        change(None, directory("/etc/d")),
        change(link("/etc/l", "x"), link("/etc/l", "y")),
        change(file("/etc/a"), file("/etc/a", mode=0o600)),
    )


def test_so_many_files_are_shown() -> None:
    changes = [change(None, file(f"/etc/{n:04}")) for n in range(MOST_FILES + 1)]
    assert [one.reason for one in shown(*changes)][-2:] == [None, "only 200 files are shown"]
