"""The control node as the daemon finds it: its files, its disk, its own limits and loops.

Only this machine's kernel is asked, and only what answers at once.
"""

from __future__ import annotations

import grp
import os
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scheduler.config.publishing import ForgeSection
from scheduler.diagnosis.facts import BackupFacts, ForgeFacts, NodeFacts
from scheduler.hosts.local_files import look_at
from scheduler.model.authorities import OWN_NAME

_OPEN_FILES = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Where the daemon's own things are, and who knows how its loops are."""

    state_dir: Path
    secrets: Sequence[Path]
    """Files that only their owner may read; those that are not there are none.

    The keys of SSH authorities are looked for: they come and go.
    """
    socket: Path
    group: str | None
    group_exists: bool
    """As it was when the socket was made: it was given to the group then, or not."""
    lag_seconds: Callable[[], float]
    stuck: Callable[[], Sequence[str]]
    forges: Sequence[ForgeSection] = ()
    backups: Callable[[], BackupFacts | None] = lambda: None

    def look(self) -> NodeFacts:
        """Return the facts as they are now."""
        disk = os.statvfs(self.state_dir)
        most_open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return NodeFacts(
            state_dir=look_at(self.state_dir),
            secrets=tuple(look_at(path) for path in self._secrets()),
            disk_free=disk.f_bavail * disk.f_frsize,
            disk_size=disk.f_blocks * disk.f_frsize,
            open_files=_open_files(most_open_files),
            most_open_files=most_open_files,
            socket=look_at(self.socket),
            socket_group=_group_of(self.socket),
            group=self.group,
            group_exists=self.group_exists,
            lag_seconds=self.lag_seconds(),
            stuck=tuple(self.stuck()),
            forges=tuple(map(_forge, self.forges)),
            backups=self.backups(),
        )

    def _secrets(self) -> Iterator[Path]:
        yield from (path for path in self.secrets if path.exists())
        # Without a free descriptor the list cannot be read; another check tells of that.
        with suppress(OSError):
            yield from sorted(self.state_dir.glob(f"{OWN_NAME}.*[0-9]"))


def _forge(forge: ForgeSection) -> ForgeFacts:
    secrets = (forge.token_file, forge.ssh_key)
    return ForgeFacts(
        name=forge.name,
        url=forge.url,
        git=shutil.which("git", path=os.defpath) is not None,
        files=tuple(look_at(path) for path in secrets if path is not None),
    )


def _group_of(path: Path) -> str:
    """Return the name of a file's group, its number where it has none, and nothing for no file."""
    try:
        number = path.stat().st_gid
    except OSError:
        return ""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def group_exists(group: str) -> bool:
    """Return whether this machine has a group of this name."""
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True


def _open_files(most: int) -> int:
    """Return how many files are open: all that may be, when not even the list can be opened."""
    try:
        return sum(1 for _ in _OPEN_FILES.iterdir())
    except OSError:
        return most
