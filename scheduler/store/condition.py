"""What the database last said of itself, for readiness and metrics; nobody decides by it.

A read that succeeds proves that reading works. A unit of work proves nothing, as it may have found
nothing to write, so a fault of writing stays until `Store.probe` has written something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scheduler.errors import SandboxdError
from scheduler.store.faults import FAULTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The faults that are there now, and how often each was met."""

    reading: SandboxdError | None = None
    writing: SandboxdError | None = None
    met: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(FAULTS, 0))
    """Calls that failed, by the fault's name."""

    def read(self, error: SandboxdError | None) -> Condition:
        """Return the condition after a read, which failed by an error of the medium or not."""
        return replace(self._counted(error), reading=error)

    def wrote(self, error: SandboxdError | None) -> Condition:
        """Return the condition after a write."""
        return replace(self._counted(error), writing=error)

    def _counted(self, error: SandboxdError | None) -> Condition:
        if error is None:
            return self
        name = str(error.details["medium"])
        return replace(self, met={**self.met, name: self.met[name] + 1})
