"""What strangers said, fit to be kept and shown: bounded, without control characters or secrets."""

from __future__ import annotations

from collections.abc import Collection

LONGEST = 1500
HIDDEN = "***"


def told(text: str, *, secrets: Collection[str] = ()) -> str:
    """Return what a server or a program said as one bounded line."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, HIDDEN)
    lines = (line.strip() for line in text.replace("\r", "\n").split("\n"))
    joined = "; ".join(line for line in lines if line)
    plain = "".join(one if one.isprintable() else " " for one in joined)
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}..."
