"""Whether what is to be changed is still as its caller has read it.

To be asked in the very unit that changes it: asked before, it would say nothing of what came since.
"""

from __future__ import annotations

from scheduler.errors import StaleRevision


def check_revision(what: str, revision: int, expected: int | None) -> None:
    """Raise `StaleRevision` unless `what` is at the expected revision; None is any."""
    if expected is not None and revision != expected:
        raise StaleRevision(
            f"{what} is at revision {revision}, not {expected}",
            remedy="read it again and repeat the change if it still makes sense",
            details={"revision": revision},
        )
