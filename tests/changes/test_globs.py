"""Patterns of paths, against the plainest thing that could do the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.changes.globs import any_of, fault, name_expression, path_expression, which


def matches(pattern: str, path: str) -> bool:
    return which(any_of([path_expression(pattern)]), path) == 0


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/etc/motd", "/etc/motd", True),
        ("/etc/motd", "/etc/motd/x", False),
        ("/etc/motd", "/etc/motd2", False),
        ("/etc/", "/etc", True),
        ("/etc/*", "/etc/a", True),
        ("/etc/*", "/etc/a/b", False),
        ("/etc/**", "/etc", False),
        ("/etc/**", "/etc/a/b", True),
        ("/etc/**/**/x", "/etc/x", True),
        ("/etc/**/x", "/etc/a/b/x", True),
        ("/etc/**/x", "/etc/a/b/xy", False),
        ("**/x", "/x", True),
        ("**/x/**", "/a/x/b/c", True),
        ("**/x/**", "/a/x", False),
        ("/a/**/b?/*.c/**/d", "/a/q/bb/z.c/e/d", True),
        ("/a/**/b/c/**/d", "/a/b/b/c/d", True),
        ("/h/*/.*_history", "/h/me/.bash_history", True),
        ("/h/a*b*c", "/h/aXbXbXc", True),
        ("/h/a*b*c", "/h/aXbX", False),
        ("/h/a?", "/h/a\n", True),
        ("/h/a.c", "/h/abc", False),
        ("/h/[ab]", "/h/a", False),
        ("/h/(x|y)$", "/h/(x|y)$", True),
        ("/h/*", "/h/a\nb", True),
    ],
)
def test_a_pattern_means_what_it_says(pattern: str, path: str, *, expected: bool) -> None:
    assert fault(pattern) is None
    assert matches(pattern, path) is expected


def plain(pattern: list[str], path: list[str]) -> bool:
    """Match names one by one, trying everything."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        least = 1 if len(pattern) == 1 else 0
        return any(plain(pattern[1:], path[taken:]) for taken in range(least, len(path) + 1))
    return bool(path) and one_name(pattern[0], path[0]) and plain(pattern[1:], path[1:])


def one_name(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(one_name(pattern[1:], name[taken:]) for taken in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and one_name(pattern[1:], name[1:])


_NAMES = st.text("ab", min_size=1, max_size=4)
_PATTERNS = st.lists(
    st.one_of(st.just("**"), st.text("ab?*", min_size=1, max_size=4)).filter(
        lambda name: name == "**" or "**" not in name
    ),
    min_size=1,
    max_size=5,
)


@given(pattern=_PATTERNS, path=st.lists(_NAMES, min_size=1, max_size=5))
def test_a_pattern_matches_what_trying_everything_matches(
    pattern: list[str], path: list[str]
) -> None:
    # Several '**' in a row are one, which stands for nothing unless it ends the pattern.
    expected = plain(
        [one for i, one in enumerate(pattern) if pattern[i - 1 : i + 1] != ["**"] * 2], path
    )
    assert matches("/" + "/".join(pattern), "/" + "/".join(path)) is expected


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("etc/motd", "begins"),
        ("/" + "a" * 512, "512"),
        ("/" + "*a" * 17, "stars"),
        ("/etc/a**", "alone"),
    ],
)
def test_a_pattern_that_is_no_good_is_refused(pattern: str, word: str) -> None:
    assert word in str(fault(pattern))


def test_a_hostile_name_costs_no_more_than_its_length() -> None:
    """A backtracking matcher would need longer than the universe has been there."""
    assert not matches("/**/" + "*a" * 7 + "/**/" + "*a" * 7 + "b", ("/" + "a" * 250) * 16)
    assert which(any_of([name_expression("*a" * 16 + "b")]), "a" * 4096) is None


def test_which_expression_matched_is_told() -> None:
    compiled = any_of([name_expression("x*"), name_expression("*y")])
    assert (which(compiled, "xy"), which(compiled, "zy"), which(compiled, "z")) == (0, 1, None)
    assert which(any_of([]), "x") is None
    assert compiled.flags & re.DOTALL
