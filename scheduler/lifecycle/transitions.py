"""Which public state may follow which: the table that every compare-and-set obeys.

DESTROYED is named here because it is reachable, but only burying a record, together with the
release of what it held, may write it.
"""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.errors import Conflict
from scheduler.model import SandboxState

_CREATED = SandboxState.CREATED
_STARTING = SandboxState.STARTING
_RUNNING = SandboxState.RUNNING
_STOPPED = SandboxState.STOPPED
_ERROR = SandboxState.ERROR
_DESTROYED = SandboxState.DESTROYED

ALLOWED: Mapping[SandboxState, frozenset[SandboxState]] = {
    _CREATED: frozenset({_STARTING, _STOPPED, _ERROR, _DESTROYED}),
    _STARTING: frozenset({_RUNNING, _STOPPED, _ERROR, _DESTROYED}),
    _RUNNING: frozenset({_STOPPED, _STARTING, _ERROR, _DESTROYED}),
    _STOPPED: frozenset({_CREATED, _STARTING, _ERROR, _DESTROYED}),
    _ERROR: frozenset({_STARTING, _RUNNING, _STOPPED, _DESTROYED}),
    _DESTROYED: frozenset(),
}
"""From each state, the states it may change to."""


def allowed(old: SandboxState, new: SandboxState) -> bool:
    """Return whether a record in `old` may be written as `new`.

    Staying in a live state is no change and always allowed: it writes the fields beside the state.
    """
    if old is new:
        return old is not _DESTROYED
    return new in ALLOWED[old]


def check(old: SandboxState, new: SandboxState) -> None:
    """Raise `Conflict`, naming what is possible instead, unless `allowed(old, new)`."""
    if allowed(old, new):
        return
    if old is _DESTROYED:
        remedy = "Create a new sandbox: a destroyed one never comes back."
    else:
        possible = ", ".join(sorted(ALLOWED[old]))
        remedy = f"Read the sandbox again: from {old} it can only become one of {possible}."
    raise Conflict(
        f"a sandbox in state {old} cannot become {new}",
        remedy=remedy,
        details={"state": str(old), "wanted": str(new)},
    )
