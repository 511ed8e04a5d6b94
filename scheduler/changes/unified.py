"""What became of a text file, line by line, as `diff -u` writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import unified_diff

from scheduler.model import Delta, EntryKind, FileChange, ManifestEntry

MOST_LINES = 4_000
"""Comparing takes the square of the lines in the worst case; longer files are not compared."""
MOST_FILES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class FileText:
    """A changed file's lines before and after, or why they are not shown."""

    path: str
    text: str | None = None
    reason: str | None = None


def texts(delta: Delta, content: Callable[[str], bytes | None]) -> Iterator[FileText]:
    """Yield every file whose content changed, in order, so many at most."""
    changed = [one for one in delta.files if _held(one.before) != _held(one.after)]
    for change in changed[:MOST_FILES]:
        yield _file_text(change, content)
    for change in changed[MOST_FILES:]:
        yield FileText(path=change.path, reason=f"only {MOST_FILES} files are shown")


def _held(entry: ManifestEntry | None) -> tuple[str | None, int] | None:
    if entry is None or entry.kind is not EntryKind.FILE:
        return None
    return entry.sha256, entry.size


def _file_text(change: FileChange, content: Callable[[str], bytes | None]) -> FileText:
    sides: list[list[str]] = []
    for entry in (change.before, change.after):
        held = _held(entry)
        if held is None or held[1] == 0:
            sides.append([])
            continue
        found = None if held[0] is None else content(held[0])
        if found is None:
            return FileText(path=change.path, reason="its content was not kept")
        lines = _lines(found)
        if lines is None:
            return FileText(path=change.path, reason="it is no text")
        if len(lines) > MOST_LINES:
            return FileText(path=change.path, reason=f"it has more than {MOST_LINES} lines")
        sides.append(lines)
    compared = unified_diff(sides[0], sides[1], f"a{change.path}", f"b{change.path}", lineterm="")
    return FileText(path=change.path, text="\n".join(compared))


def _lines(content: bytes) -> list[str] | None:
    """Return a text's lines, one that lacks its end marked as `diff` does; None for no text."""
    if b"\0" in content:
        return None
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None
    if lines[-1]:
        lines[-1] += "\n\\ No newline at end of file"
        return lines
    return lines[:-1]
