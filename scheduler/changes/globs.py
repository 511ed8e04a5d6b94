"""Patterns of paths: `*` and `?` stay within a name, `**` stands for any number of names.

A pattern comes from whoever asks for a diff and meets names that a guest chose, so it becomes an
expression that gives back nothing it once took: the time is bounded by length times length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST_PATTERN = 512
MOST_STARS = 16


def fault(pattern: str) -> str | None:
    """Return what is wrong with a pattern of paths, None when it can be used."""
    if len(pattern) > LONGEST_PATTERN:
        return f"a pattern has at most {LONGEST_PATTERN} characters"
    if not pattern.startswith(("/", "**/")):
        return "a pattern begins with '/' or '**/'"
    if pattern.count("*") > MOST_STARS:
        return f"a pattern has at most {MOST_STARS} stars"
    if any("**" in name and name != "**" for name in pattern.split("/")):
        return "'**' stands alone between slashes"
    return None


def path_expression(pattern: str) -> str:
    """Return a regular expression that matches whole paths as the pattern says."""
    names = [name for name in pattern.split("/") if name]
    runs: list[list[str]] = [[]]
    for name in names:
        if name != "**":
            runs[-1].append(name)
        elif len(runs) == 1 or runs[-1]:
            runs.append([])
    first, *others = ("".join("/" + name_expression(name) for name in run) for run in runs)
    if not others:
        return first
    *middle, last = others
    # A run is found where it comes first, and is not looked for again: what follows it may begin
    # at any later place anyway.
    between = "".join(rf"(?>(?:/[^/]++)*?{run}(?=/))" for run in middle)
    return first + between + (rf"(?:/[^/]++)*?{last}" if last else r"(?:/[^/]++)++")


def name_expression(pattern: str) -> str:
    """Return a regular expression for one name (or a service's), without a slash in it."""
    parts = [_plain(part) for part in re.split(r"\*+", pattern)]
    if len(parts) == 1:
        return parts[0] + r"(?=/|\Z)"
    first, *middle, last = parts
    between = "".join(f"(?>[^/]*?{part})" for part in middle)
    return first + between + rf"[^/]*{last}(?=/|\Z)"


def any_of(expressions: Iterable[str]) -> re.Pattern[str]:
    """Return one expression for several; the number of the group that matched names which."""
    return re.compile("|".join(f"({one})" for one in expressions) or "(?!)", re.DOTALL)


def which(compiled: re.Pattern[str], text: str) -> int | None:
    """Return the place of the first expression that matches the whole text, None for none."""
    match = compiled.fullmatch(text)
    return None if match is None or match.lastindex is None else match.lastindex - 1


def _plain(text: str) -> str:
    return "".join("[^/]" if letter == "?" else re.escape(letter) for letter in text)
