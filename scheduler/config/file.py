"""The configuration file as TOML: read whole and bounded, or refused with reason and place."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from scheduler.validation.faults import Fault

LARGEST_FILE = 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class Unreadable(Exception):
    """The file is no TOML document."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.fault = Fault(path="", message=message, remedy=remedy)


def read(path: Path) -> dict[str, Any]:
    """Return the document; raises `Unreadable`."""
    content = _bytes(path)
    if content.startswith(_BOM):
        raise Unreadable(
            "the file begins with a byte order mark", "save it as UTF-8 without a byte order mark"
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable(
            f"line {line} is not UTF-8 (byte {error.start} of the file)",
            "save the file as UTF-8",
        ) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error) if str(error).isprintable() else ascii(str(error))
        raise Unreadable(f"this is not TOML: {message}", "correct the file there") from None
    except RecursionError:
        raise Unreadable(
            "the file nests arrays or tables too deeply", "settings nest two levels at most"
        ) from None
    except ValueError:
        raise Unreadable("a number has too many digits", "give a smaller number") from None


def _bytes(path: Path) -> bytes:
    """Return the content of a regular file; a pipe or a device could block or never end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name holds a NUL"
        raise Unreadable(
            f"the file cannot be opened: {reason}",
            "name an existing file that the daemon's user may read",
        ) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unreadable("this is not a regular file", "name the TOML file itself")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(LARGEST_FILE + 1)
    finally:
        os.close(descriptor)
    if len(content) > LARGEST_FILE:
        raise Unreadable(
            f"the file is larger than {LARGEST_FILE} bytes", "name the configuration file"
        )
    return content
