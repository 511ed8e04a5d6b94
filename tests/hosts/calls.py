"""Calls that tests of lanes and threads make, and the terms they make them on."""

from __future__ import annotations

import threading

from scheduler.hosts.lanes import Terms

HANGS_SECONDS = 600
"""Longer than any test: a call that nobody lets go on has failed it."""


class Gate:
    """A call that hangs until the test opens it."""

    def __init__(self) -> None:
        self.begun = 0
        self._open = threading.Event()

    def __call__(self) -> str:
        self.begun += 1
        assert self._open.wait(HANGS_SECONDS)
        return "late"

    def open(self) -> None:
        self._open.set()


def terms(**values: object) -> Terms:
    """Return short terms; the deadline is what the test is about, or never reached."""
    known: dict[str, object] = {"doing": "answer", "deadline_seconds": HANGS_SECONDS}
    return Terms(**{**known, **values})  # type: ignore[arg-type]
