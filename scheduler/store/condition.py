"""What the database last said of itself, for readiness and metrics.

A read that succeeds proves that reading works. A unit of work proves nothing, as it may have found
nothing to write, so a fault of writing stays until `Store.probe` has written something. Damage does
not go away by itself: it stays, and no more is written, until the daemon is started again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scheduler.errors import SandboxdError
from scheduler.store.faults import FAULTS, again, of_damage


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The faults that are there now, and how often each was met."""

    reading: SandboxdError | None = None
    writing: SandboxdError | None = None
    met: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(FAULTS, 0))
    """Calls that failed, by the fault's name."""

    def read(self, error: SandboxdError | None) -> Condition:
        """Return the condition after a read, which failed by an error of the medium or not."""
        return replace(self._counted(error), reading=self.damage or error)

    def wrote(self, error: SandboxdError | None) -> Condition:
        """Return the condition after a write."""
        return replace(self._counted(error), writing=self.damage or error)

    @property
    def damage(self) -> SandboxdError | None:
        """Return the error that told of damage, if one did."""
        for error in (self.reading, self.writing):
            if error is not None and of_damage(error):
                return error
        return None

    def check(self) -> None:
        """Raise what keeps the database from being read or written."""
        if (fault := self.reading or self.writing) is not None:
            raise again(fault)

    def _counted(self, error: SandboxdError | None) -> Condition:
        if error is None:
            return self
        name = str(error.details["medium"])
        return replace(self, met={**self.met, name: self.met[name] + 1})
