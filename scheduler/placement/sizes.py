"""Amounts as people read them."""

from __future__ import annotations


def mebibytes(amount: int) -> str:
    """Return MiB below one GiB, else GiB with one decimal."""
    return f"{amount} MiB" if abs(amount) < 1024 else f"{amount / 1024:.1f} GiB"


def told_apart(have: int, need: int) -> tuple[str, str]:
    """Return two amounts of MiB in words, exact when rounding would make them look equal."""
    words = mebibytes(have), mebibytes(need)
    return (f"{have} MiB", f"{need} MiB") if words[0] == words[1] else words
