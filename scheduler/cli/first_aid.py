"""What can be seen of a daemon that does not answer, without importing any of it.

The daemon itself checks its configuration, and systemd tells of its service; both are asked as an
operator would ask them. Checks have the shape in which the daemon answers.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scheduler.cli.failures import Failure

Document = dict[str, Any]

SERVICE = "sandboxd"
WAIT_SECONDS = 30.0
_WHERE = "control node"


def examine(socket_path: str, failure: Failure, config: str | None) -> list[Document]:
    """Return every check that needs no daemon; the first says why it was not asked."""
    daemon = shutil.which(SERVICE) or _beside_us()
    return [
        _check("daemon", "failed", failure.message, _how_to_start()),
        *_socket(Path(socket_path)),
        *_service(),
        *_configuration(daemon, config),
    ]


def _check(name: str, verdict: str, message: str, remedy: str | None = None) -> Document:
    return {
        "subject": _WHERE,
        "name": name,
        "verdict": verdict,
        "message": message,
        "remedy": remedy,
    }


def _how_to_start() -> str:
    if shutil.which("systemctl") is None:
        return SERVICE
    return f"systemctl start {SERVICE}"


def _socket(path: Path) -> Iterator[Document]:
    try:
        found = path.lstat()
    except FileNotFoundError:
        yield _check("socket", "unknown", f"{path} is not there: no daemon made it")
        return
    except PermissionError:
        message = f"you may not look into {path.parent}"
        yield _check("socket", "failed", message, _join_group(path))
        return
    if not stat.S_ISSOCK(found.st_mode):
        remedy = shlex.join(["mv", str(path), f"{path}.away"])
        yield _check("socket", "failed", f"{path} is no socket", remedy)
    elif not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        mode = stat.S_IMODE(found.st_mode)
        message = f"you may not use {path} (mode {mode:04o}, group {_group(path)})"
        yield _check("socket", "failed", message, _join_group(path))
    else:
        yield _check("socket", "ok", f"you may use {path}")


def _group(path: Path) -> str:
    try:
        return path.group()
    except (KeyError, OSError):
        return "sandboxd-admin"


def _join_group(path: Path) -> str:
    user = os.environ.get("USER") or str(os.getuid())
    return shlex.join(["sudo", "usermod", "-aG", _group(path), user])


def _service() -> Iterator[Document]:
    if shutil.which("systemctl") is None:
        return
    said = _run("systemctl", "is-active", SERVICE)
    state = said.stdout.strip() or "unknown"
    if state == "active":
        message = "systemd says that it runs, and it does not answer: see its log"
        yield _check("service", "failed", message, f"journalctl -u {SERVICE} -n 100")
    elif state == "failed":
        message = "systemd says that it failed: see its log"
        yield _check("service", "failed", message, f"journalctl -u {SERVICE} -n 100")
    else:
        message = f"systemd says that it is {state}"
        yield _check("service", "warning", message, f"systemctl enable --now {SERVICE}")


def _configuration(daemon: str | None, config: str | None) -> Iterator[Document]:
    if daemon is None:
        message = f"there is no {SERVICE} to be found on this machine, which may be another one"
        yield _check("configuration", "unknown", message)
        return
    command = [daemon, "--check-config", *(() if config is None else ("--config", config))]
    said = _run(*command)
    if said.returncode == 0:
        yield _check("configuration", "ok", said.stdout.strip() or "it is valid")
        return
    message = " ".join(said.stderr.split()) or f"its check ended with code {said.returncode}"
    yield _check("configuration", "failed", message, shlex.join(command))


def _beside_us() -> str | None:
    """Return the daemon of our own installation."""
    found = Path(sys.executable).with_name(SERVICE)
    return str(found) if os.access(found, os.X_OK) else None


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that is asked for its opinion; one that cannot give it fails like any other."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=WAIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
