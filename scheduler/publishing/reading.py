"""Members of a forge's documents, of which nothing is taken for granted."""

from __future__ import annotations

from typing import Any

from scheduler.errors import RemoteRefused

LONGEST_TEXT = 1000


def member(document: Any, name: str) -> Any:
    """Return a member of an object, None where it has none."""
    if not isinstance(document, dict):
        raise _unexpected(name)
    return document.get(name)


def text(document: Any, name: str) -> str:
    """Return a member that is a text of one line; raises `RemoteRefused` for any other."""
    value = member(document, name)
    if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST_TEXT:
        raise _unexpected(name)
    return value


def number(document: Any, name: str) -> int:
    """Return a member that is a positive number; raises `RemoteRefused` for any other."""
    value = member(document, name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**53:
        raise _unexpected(name)
    return value


def _unexpected(name: str) -> RemoteRefused:
    return RemoteRefused(
        f"the forge's answer has no {name} as its API promises",
        reason="no_forge",
        remedy="check kind and api_url of the forge; then retry",
    )
