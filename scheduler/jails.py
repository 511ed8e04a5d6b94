"""What a jailed program may do, as a value; and the command that runs it so.

The jail itself is `jail.py`, which is run by its path: this is what the daemon imports of it.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.jail import LIBRARIES, UNJAILED

JAIL = Path(__file__).with_name("jail.py")

__all__ = ["JAIL", "LIBRARIES", "UNJAILED", "JailPlan", "reachable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JailPlan:
    """Everything that a program in the jail has; sizes in bytes."""

    readable: Sequence[str | Path] = LIBRARIES
    """Files and directories; what is not there is left out."""
    writable: Sequence[str | Path] = ()
    """What others have too, as it is."""
    private: Sequence[str | Path] = ()
    """Directories that are made for this run and may be written; nobody comes to own them."""
    descriptor: int | None = None
    """An open file that may be read, `{}` in the command."""
    memory_bytes: int
    cpu_seconds: int
    file_bytes: int
    """How large a file may become that it writes."""
    open_files: int
    processes: int | None = None
    """How many may run at once; only for nobody, whose processes are not the daemon's."""
    allowed_calls: Sequence[str] = ()
    environment: Mapping[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/bin", "LC_ALL": "C", "HOME": "/nonexistent"}
    )
    leashed: bool = False
    """Whether it ends, with all that it started, when its standard input does."""
    programs: Sequence[str | Path] = ()
    """What nobody must be able to run, to be who runs it; root's user without its rights, else."""

    def command(self, *argv: str | Path) -> list[str]:
        """Return the command that runs another one in the jail."""
        nobody = os.geteuid() == 0 and all(map(reachable, self.programs))
        limits = {
            "AS": self.memory_bytes,
            "CPU": self.cpu_seconds,
            "FSIZE": self.file_bytes,
            "CORE": 0,
            "NOFILE": self.open_files,
        }
        if self.processes is not None and nobody:
            limits["NPROC"] = self.processes
        plan = {
            "readable": [str(path) for path in self.readable],
            "writable": [str(path) for path in (*self.private, *self.writable)],
            "private": [str(path) for path in self.private],
            "descriptor": self.descriptor,
            "limits": limits,
            "nobody": nobody,
            "allowed_calls": list(self.allowed_calls),
            "environment": dict(self.environment),
            "leashed": self.leashed,
        }
        jail = [sys.executable, "-I", "-S", str(JAIL), json.dumps(plan)]
        return [*jail, *(str(one) for one in argv)]


def reachable(path: str | Path) -> bool:
    """Return whether everybody may read and run what is there, links followed."""
    real = Path(os.path.realpath(path))
    if not all(one.stat().st_mode & stat.S_IXOTH for one in real.parents):
        return False
    return real.stat().st_mode & (stat.S_IROTH | stat.S_IXOTH) == stat.S_IROTH | stat.S_IXOTH
