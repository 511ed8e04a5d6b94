"""ansible-playbook on the control node: where it is, and in what it runs.

It gets no configuration but ours, no home, no agent and no colours, and a directory of its own
that is gone afterwards.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from scheduler.guests.processes import Finished, run_program

CHECK_SECONDS = 60.0
PROGRAM = "ansible-playbook"
LONGEST_FAULT = 2000


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
        "TMPDIR": str(directory),
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
    """Return what Ansible says against a playbook's file, None when it takes it; plays nothing."""
    finished = await run_program(
        [ansible, "--syntax-check", "-i", "localhost,", "--", str(playbook)],
        environment=environment(directory),
        directory=directory,
        limit_seconds=CHECK_SECONDS,
        output_bytes=65536,
    )
    return None if finished.exit_code == 0 else _told(finished)


def _told(finished: Finished) -> str:
    if finished.exit_code is None:
        return f"ansible-playbook --syntax-check did not end in {CHECK_SECONDS:.0f} s"
    return finished.output.strip()[:LONGEST_FAULT] or f"exit code {finished.exit_code}"
