"""Where daemons come from: one process that has imported everything and forks each of them.

Importing costs seconds of a processor, and a proof starts hundreds of daemons. What is forked runs
the same `main` in a process of its own, with its own memory, threads and end.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Self

from tests.fleet.process import LOG_TAIL_BYTES, STOP_LIMIT_S, ProcessError, wait_until

ROOT = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1


class Nursery:
    """The parent of daemons; they end with it, and it with us."""

    def __init__(self) -> None:
        # Not measured: what is killed writes no coverage, and a tracer that was forked with others'
        # threads beside it is nothing that users have.
        unmeasured = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
        environment = {
            **unmeasured,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "error",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", __spec__.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
        self._lock = Lock()

    def bear(self, directory: Path, argv: Sequence[str], *, log: Path) -> Child:
        """Start a daemon with these arguments and its fuse in `directory`."""
        pid = self._ask({"directory": str(directory), "argv": list(argv), "log": str(log)})
        return Child(nursery=self, pid=pid, log=log)

    def status(self, pid: int) -> int | None:
        """What a daemon ended with, negative for a signal; None while it runs."""
        code: int | None = self._ask({"status": pid})
        return code

    def close(self) -> None:
        """End the nursery and every daemon in it."""
        self._process.kill()
        self._process.wait(STOP_LIMIT_S)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, question: dict[str, object]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


@dataclass
class Child:
    """A running daemon."""

    nursery: Nursery
    pid: int
    log: Path
    code: int | None = None

    @property
    def is_running(self) -> bool:
        if self.code is None:
            self.code = self.nursery.status(self.pid)
        return self.code is None

    @property
    def exit_code(self) -> int:
        """What it ended with; negative for a signal, and a `ProcessError` while it still runs."""
        if self.is_running or self.code is None:
            raise ProcessError(f"daemon {self.pid}: still runs")
        return self.code

    def wait_until_dead(self, limit_s: float = STOP_LIMIT_S) -> int:
        """Return what it ended with; `TimeoutError` when it does not."""
        wait_until(lambda: not self.is_running, what=f"the end of {self.pid}", limit_s=limit_s)
        return self.exit_code

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def log_tail(self) -> str:
        """The last of what it wrote."""
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        if self.is_running:
            os.kill(self.pid, number)
            self.wait_until_dead()


def _serve() -> None:
    """Fork for each order that is read, and tell how the forked ended when asked."""
    from tests.faults import mortal

    gc.freeze()
    for line in sys.stdin:
        question = json.loads(line)
        if "status" in question:
            answer = _reaped(question["status"])
        else:
            answer = os.fork()
            if answer == 0:
                _become(question)
                os._exit(mortal.main(Path(question["directory"]), question["argv"]))
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


def _reaped(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _become(order: dict[str, Any]) -> None:
    """Leave nothing of the nursery in the process but its memory."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)


if __name__ == "__main__":
    _serve()
