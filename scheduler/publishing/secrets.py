"""Tokens: read from their files when they are needed, checked, and never kept."""

from __future__ import annotations

from pathlib import Path

from scheduler.errors import RemoteRefused

LONGEST_TOKEN = 4096


def read_token(path: Path) -> str:
    """Return the token in a file; raises `RemoteRefused` for a file that holds none."""
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_TOKEN + 1)
    except OSError as error:
        raise _no_token(path, error.strerror or "it cannot be read") from None
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise _no_token(path, "it holds other characters than ASCII") from None
    if not token or len(content) > LONGEST_TOKEN:
        raise _no_token(path, "it is empty or too long")
    if not token.isprintable() or " " in token:
        raise _no_token(path, "it holds more than one word")
    return token


def _no_token(path: Path, why: str) -> RemoteRefused:
    return RemoteRefused(
        f"there is no token in {path}: {why}",
        reason="no_token",
        remedy="write the forge's token into that file, or LoadCredential it; then retry",
    )
