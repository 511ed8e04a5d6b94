"""The control node as the daemon finds it: its files, its disk, its own limits and loops.

Only this machine's kernel is asked, and only what answers at once.
"""

from __future__ import annotations

import grp
import os
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler.diagnosis.facts import NodeFacts
from scheduler.hosts.local_files import look_at

_OPEN_FILES = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Where the daemon's own things are, and who knows how its loops are."""

    state_dir: Path
    secrets: Sequence[Path]
    """Files that only their owner may read; those that are not there are none."""
    group: str | None
    lag_seconds: Callable[[], float]
    stuck: Callable[[], Sequence[str]]

    def look(self) -> NodeFacts:
        """Return the facts as they are now."""
        disk = os.statvfs(self.state_dir)
        return NodeFacts(
            state_dir=look_at(self.state_dir),
            secrets=tuple(look_at(path) for path in self.secrets if path.exists()),
            disk_free=disk.f_bavail * disk.f_frsize,
            disk_size=disk.f_blocks * disk.f_frsize,
            open_files=sum(1 for _ in _OPEN_FILES.iterdir()),
            most_open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            group=self.group,
            group_exists=self.group is None or _exists(self.group),
            lag_seconds=self.lag_seconds(),
            stuck=tuple(self.stuck()),
        )


def _exists(group: str) -> bool:
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True
