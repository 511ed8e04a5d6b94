"""Paths of the API, made from what a user typed."""

from __future__ import annotations

from urllib.parse import quote


def segment(reference: str) -> str:
    """Return a user's text as exactly one path segment."""
    escaped = quote(reference, safe="")
    # A client or server may resolve dot segments even when nothing asked for it.
    return escaped.replace(".", "%2E") if escaped in {".", ".."} else escaped
