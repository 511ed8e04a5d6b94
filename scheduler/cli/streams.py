"""The three standard streams, whatever the caller left of them.

A stream that is closed leaves its number free, and the next socket would be taken for it. A missing
input is at its end, a missing output cannot be written, and a missing error output is not missed.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from scheduler.cli.exits import Exit

_MISSING = (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))


def complete() -> None:
    """Put something in the place of each stream that is not there; to be called first of all."""
    for number, (name, flags, mode) in enumerate(_MISSING):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is the missing one: those below it are taken by now.
            os.open(os.devnull, flags)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal without UTF-8 gets escapes instead of a crash.
            stream.reconfigure(errors="backslashreplace")


def lost(error: OSError) -> Exit:
    """Say that the output cannot be written, and have nobody try to write what is left of it."""
    where = "the output" if error.filename is None else os.fsdecode(error.filename)
    with suppress(OSError):
        sys.stderr.write(f"error: {where} cannot be used: {error.strerror or error}\n")
        sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)
    return Exit.FAILED
