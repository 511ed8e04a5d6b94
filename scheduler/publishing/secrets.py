"""Tokens: read from their files when they are needed, checked, and never kept."""

from __future__ import annotations

from pathlib import Path

from scheduler.errors import RemoteRefused

LONGEST_TOKEN = 4096
_GIVE = "write the forge's token into its file, or have the unit's LoadCredential hand it over"


class _NoToken(Exception):
    """Why a file holds no token."""


def read_token(path: Path, *, handed_over: bool = False) -> str:
    """Return the token in a file; raises `RemoteRefused` for a file that holds none."""
    try:
        return _token(path)
    except _NoToken as error:
        raise RemoteRefused(
            f"there is no token in {path}: {error}",
            reason="no_token",
            remedy=renewing(_GIVE, handed_over=handed_over),
        ) from None


def renewing(remedy: str, *, handed_over: bool) -> str:
    """Return a remedy that may be another token, with what it takes for that one to be read.

    A credential is a copy that systemd makes when the daemon starts, and never again.
    """
    change = "; for another one, write it where LoadCredential finds it and restart sandboxd"
    return f"{remedy}{change if handed_over else ''}; then retry"


def _token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_TOKEN + 1)
    except OSError as error:
        raise _NoToken(error.strerror or "it cannot be read") from None
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise _NoToken("it holds other characters than ASCII") from None
    if not token or len(content) > LONGEST_TOKEN:
        raise _NoToken("it is empty or too long")
    if not token.isprintable() or " " in token:
        raise _NoToken("it holds more than one word")
    return token
