"""The jail in which Ansible reads and plays what others wrote.

A play's lookups and templates run on the control node. In the jail they find Ansible itself, one
private directory and no network; the way to the guest is a pair of pipes (see `doors`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from scheduler.guests import relay
from scheduler.guests.redaction import Redactor
from scheduler.jails import LIBRARIES, UNJAILED, JailPlan
from scheduler.processes import Ended, run

MEMORY_BYTES = 4 * 2**30
"""Of addresses, for each process; what is really used is bounded by the daemon's unit."""
FILE_BYTES = 2**30
OPEN_FILES = 512
PROCESSES = 256

_READABLE = (
    *LIBRARIES,
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/localtime"),
    *("/dev/urandom", "/dev/random"),
)
_WRITABLE = ("/dev/null", "/dev/shm")
"""Semaphores between Ansible's own processes are files of the latter."""


def ansible_jail(
    program: str | Path,
    private: Path,
    environment: Mapping[str, str],
    *,
    cpu_seconds: float,
) -> JailPlan:
    """Return what Ansible may do with one private directory."""
    return JailPlan(
        readable=(*_READABLE, sys.prefix, sys.base_prefix, program, relay.__file__),
        writable=_WRITABLE,
        private=(private,),
        memory_bytes=MEMORY_BYTES,
        cpu_seconds=max(1, round(cpu_seconds)),
        file_bytes=FILE_BYTES,
        open_files=OPEN_FILES,
        processes=PROCESSES,
        environment=environment,
        leashed=True,
        programs=(program, sys.executable, relay.__file__),
    )


async def run_jailed(
    plan: JailPlan, *argv: str | Path, cwd: Path, limit_seconds: float, most_bytes: int
) -> Ended:
    """Run a command in the jail, which ends with all that it started when this is cancelled.

    Secrets are taken out of what it says before the end of that is kept.
    """
    return await run(
        plan.command(*argv),
        cwd=cwd,
        environment={"LC_ALL": "C.UTF-8"},
        limit_seconds=limit_seconds,
        most_bytes=most_bytes,
        leashed=True,
        sieve=Redactor(),
    )


def jail_fault(ended: Ended) -> str | None:
    """Return why the jail could not be closed; None when it was."""
    return ended.output.strip()[:500] if ended.code == UNJAILED else None
