"""Exit codes: part of the interface, so that scripts can branch without reading text."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the process tells its caller."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_AUTHORISED = 4
    CONFLICT = 5
    NO_CAPACITY = 6
    UNREACHABLE = 7
    LEFTOVERS = 8
    TIMED_OUT = 124
    OWN_FAILURE = 125
    """What `exec` ends with when the command's own code is not known."""
    INTERRUPTED = 130
