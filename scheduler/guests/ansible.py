"""ansible-playbook on the control node: where it is, and in what it runs.

It gets no configuration but ours, no home, no agent and no colours, and a directory of its own
that is gone afterwards.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from scheduler.guests.ansible_jail import ansible_jail, run_jailed
from scheduler.processes import Ended

CHECK_SECONDS = 60.0
PROGRAM = "ansible-playbook"
LONGEST_FAULT = 2000
MOST_BYTES = 65536


class CheckLate(Exception):
    """A check did not end in time, as on a busy machine: that says nothing of the playbook yet."""


def find_ansible() -> str | None:
    """Return where ansible-playbook is: beside this Python, else on the path; None for nowhere."""
    beside = Path(sys.executable).with_name(PROGRAM)
    return str(beside) if beside.exists() else shutil.which(PROGRAM)


def environment(directory: Path) -> Mapping[str, str]:
    """Return all that ansible-playbook is told by its environment; it writes below `directory`."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(directory),
        "TMPDIR": str(directory / "tmp"),
        "NO_COLOR": "1",
        "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
        "ANSIBLE_HOME": str(directory / "home"),
        "ANSIBLE_LOCAL_TEMP": str(directory / "local"),
        "ANSIBLE_COLLECTIONS_PATH": "/usr/share/ansible/collections",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_NOCOWS": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
        "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
        "ANSIBLE_PIPELINING": "1",
    }


async def syntax_fault(ansible: str, playbook: Path, directory: Path) -> str | None:
    """Return what Ansible says against a playbook's file, None when it takes it; plays nothing.

    Raises `CheckLate` when it said neither in `CHECK_SECONDS`.
    It happens in the jail: what a play imports may be named by a template, and so by a lookup.
    `directory` is private, and the jail's.
    """
    copied = directory / "checked.yml"
    await asyncio.to_thread(shutil.copyfile, playbook, copied)
    (directory / "tmp").mkdir()
    jail = ansible_jail(ansible, directory, environment(directory), cpu_seconds=CHECK_SECONDS)
    ended = await run_jailed(
        jail,
        *(ansible, "--syntax-check", "-i", "localhost,", "--", copied),
        cwd=directory,
        limit_seconds=CHECK_SECONDS,
        most_bytes=MOST_BYTES,
    )
    if ended.code is None:
        raise CheckLate(f"{PROGRAM} --syntax-check did not end in {CHECK_SECONDS:.0f} s")
    return None if ended.code == 0 else _told(ended).replace(str(copied), str(playbook))


def _told(ended: Ended) -> str:
    return ended.output.strip()[:LONGEST_FAULT] or f"exit code {ended.code}"
