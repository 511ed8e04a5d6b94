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

from scheduler.cli.failures import Failure, Refused

Document = dict[str, Any]

SERVICE = "sandboxd"
WAIT_SECONDS = 30.0
_STARTING = "activating"
_FOLLOW = f"journalctl -u {SERVICE} -f"
_WHERE = "control node"


def examine(socket_path: str, failure: Failure, config: str | None) -> list[Document]:
    """Return every check that needs no daemon; the first says why it was not asked."""
    daemon = shutil.which(SERVICE) or _beside_us()
    state = _state()
    return [
        _daemon(failure, state),
        *_socket(Path(socket_path)),
        *_service(state),
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


def _daemon(failure: Failure, state: str | None) -> Document:
    starts = isinstance(failure, Refused) and failure.code == "starting"
    if starts or state == _STARTING:
        return _check("daemon", "warning", failure.message, _FOLLOW)
    start = SERVICE if state is None else f"systemctl start {SERVICE}"
    return _check("daemon", "failed", failure.message, start)


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


def _state() -> str | None:
    """Return what systemd says of the service, None where there is no systemd.

    A service that failed and is tried again every few seconds is "activating" as well.
    """
    if shutil.which("systemctl") is None:
        return None
    state = _run("systemctl", "is-active", SERVICE).stdout.strip() or "unknown"
    if state != _STARTING:
        return state
    sub_state = _run("systemctl", "show", "--property=SubState", "--value", SERVICE).stdout.strip()
    return "failed" if sub_state == "auto-restart" else state


def _service(state: str | None) -> Iterator[Document]:
    if state is None:
        return
    if state == _STARTING:
        message = "systemd says that it starts; an upgrade of a large database takes minutes"
        yield _check("service", "warning", message, _FOLLOW)
    elif state == "active":
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
