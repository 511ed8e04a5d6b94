"""A server process that dies with its owner, can be frozen, and tells why it did not start.

`setpriv --pdeathsig` does the first: the kernel signals the process when the thread that started
it ends. So start servers from the main thread.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

ROOT = Path("/")
RUN_LIMIT_S = 120.0
READY_LIMIT_S = 180.0  # it tells a hang from a wait, not a slow machine from a fast
STOP_LIMIT_S = 90.0  # longer than sandboxd lets what is in progress take
ABORT_LIMIT_S = 10.0
LOOK_EVERY_S = 0.02
LOG_TAIL_BYTES = 2_000
PORTS_TRIED = 5
PORT_TAKEN = "Address already in use"
# Whoever starts us may be dead before we have asked for a signal at its death.
UNLESS_ORPHANED = '[ "$PPID" = "$0" ] && exec "$@"'


class ProcessError(Exception):
    """A process did not start, or failed; the message ends with what it wrote."""


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def on_free_port(start: Callable[[int], T]) -> T:
    """Start a server on a free port, and on another one while somebody takes that before it does.

    `start` raises the `ProcessError` of a server that ended, with what it wrote.
    """
    for _ in range(PORTS_TRIED - 1):
        try:
            return start(free_port())
        except ProcessError as error:
            if PORT_TAKEN not in str(error):
                raise
    return start(free_port())


def wait_until(
    condition: Callable[[], bool],
    *,
    what: str,
    limit_s: float = READY_LIMIT_S,
    every_s: float = LOOK_EVERY_S,
) -> None:
    """Return once `condition` holds; `TimeoutError` naming `what` when that takes too long."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {limit_s:g} s")
        time.sleep(every_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Whom a server runs as."""

    uid: int
    gid: int

    @property
    def is_current(self) -> bool:
        return self.uid == os.geteuid()


def run(
    *argv: str, user: User | None = None, cwd: Path = ROOT, limit_s: float = RUN_LIMIT_S
) -> str:
    """Run a command to its end and return its output; `ProcessError` when it fails."""
    done = subprocess.run(
        ["setpriv", *_identity(user), "--", *argv] if user else argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd=cwd,
        timeout=limit_s,
    )
    if done.returncode:
        raise ProcessError(
            f"{shlex.join(argv)}: code {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


class Server:
    """A running child process, its standard output and error in `log`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        *,
        log: Path,
        user: User | None = None,
        environment: Mapping[str, str] | None = None,
        last_signal: str = "KILL",
        is_tethered: bool = False,
    ) -> Server:
        """Start `argv` as `user` (default: ourselves); it gets `last_signal` when we die.

        A tethered server's standard input is a pipe that closes then, too.
        """
        setpriv = ["setpriv", *_identity(user), "--pdeathsig", last_signal, "--"]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*setpriv, "sh", "-c", UNLESS_ORPHANED, str(os.getpid()), *argv],
                stdin=subprocess.PIPE if is_tethered else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=ROOT,
                start_new_session=True,
            )
        return cls(shlex.join(argv), process, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int:
        """What it ended with; negative for a signal, and a `ProcessError` while it still runs."""
        code = self._process.poll()
        if code is None:
            raise ProcessError(f"{self._name}: still runs")
        return code

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(
        self, is_ready: Callable[[], bool], limit_s: float = READY_LIMIT_S
    ) -> None:
        """Return once `is_ready`; `ProcessError` if it ended or took too long."""
        try:
            wait_until(lambda: not self.is_running or is_ready(), what=self._name, limit_s=limit_s)
        except TimeoutError as error:
            raise ProcessError(f"{error}\n{self.log_tail()}") from error
        if not self.is_running:
            code = self._process.returncode
            raise ProcessError(f"{self._name}: ended with code {code}\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last of what the server wrote."""
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def suspend(self) -> None:
        """Freeze it (SIGSTOP): it accepts connections and never answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Thaw it (SIGCONT)."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it with SIGKILL and reap it."""
        self._process.kill()
        self._process.wait(STOP_LIMIT_S)
        if self._process.stdin is not None:
            self._process.stdin.close()

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """End it politely, by force when it does not go in time; frozen or dead already is fine."""
        self._process.send_signal(with_signal)
        self.resume()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)  # Python's faulthandler says where it hangs
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(ABORT_LIMIT_S)
            self.kill()


def _identity(user: User | None) -> list[str]:
    if user is None or user.is_current:
        return []
    return [f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
