"""A fuse: at which point of its work a daemon is to die, set from outside while it runs.

Its directory joins the two who use it: the daemon under proof tells every point it reaches, and the
proof lights and reads. What was reached is kept as a trace, so that a story can be watched once and
then be cut short at each of its points.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock, Timer

ANY = "*"
"""Every point counts: the daemon dies at the nth one, whichever that is."""
DEATH = "died"
MID_CALL_S = 0.3
"""How long a daemon lives on whose hosts do not answer any more; its call has been sent by then."""


class Fuse:
    """The points of one daemon, and the one that ends it by SIGKILL."""

    def __init__(self, directory: Path) -> None:
        self._setting = directory / "fuse"
        self._trace = directory / "trace"
        self._lock = Lock()
        self._lit = ""
        self._passed = 0
        self._serial = 0

    def light(self, point: str, nth: int = 1, *, freezing: Iterable[int] = ()) -> None:
        """Have the daemon die when it reaches `point` for the nth time from now on.

        With processes to freeze, it stops these there, goes on, and dies a moment later: what it
        asked of them is on its way, and will be done after its death.
        """
        self._serial += 1
        draft = self._setting.with_suffix(".draft")
        frozen = ",".join(map(str, freezing))
        draft.write_text(f"{point} {nth} {self._serial} {frozen}")
        self._trace.write_bytes(b"")
        draft.replace(self._setting)

    def put_out(self) -> None:
        """Let the daemon live, and begin a new trace."""
        self._setting.unlink(missing_ok=True)
        self._trace.write_bytes(b"")

    @property
    def has_blown(self) -> bool:
        """Whether a daemon died of it since it was lit."""
        return self.trace()[-1:] == [DEATH]

    def trace(self) -> list[str]:
        """The points reached since the fuse was lit or put out, in order."""
        return self._trace.read_text().splitlines() if self._trace.exists() else []

    def reached(self, point: str) -> None:
        """Tell, in the daemon, that it is at this point; does not return if it is the one."""
        with self._lock:
            setting = self._read()
            if setting != self._lit:
                self._lit, self._passed = setting, 0
            self._write(point)
            if not setting:
                return
            at, nth, _, frozen = setting.split(" ")
            self._passed += at in (point, ANY)
            if at in (point, ANY) and self._passed == int(nth):
                self._blow([int(pid) for pid in frozen.split(",") if pid])

    def _blow(self, frozen: Sequence[int]) -> None:
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        if frozen:
            Timer(MID_CALL_S, self._die).start()
        else:
            self._die()

    def _die(self) -> None:
        self._write(DEATH)
        os.kill(os.getpid(), signal.SIGKILL)

    def _read(self) -> str:
        try:
            return self._setting.read_text()
        except FileNotFoundError:
            return ""

    def _write(self, line: str) -> None:
        with self._trace.open("a") as file:
            file.write(f"{line}\n")


def numbered(trace: Iterable[str]) -> list[tuple[str, int]]:
    """Each point of a trace with how often it had been reached by then, from 1."""
    seen: Counter[str] = Counter()
    steps = []
    for point in trace:
        seen[point] += 1
        steps.append((point, seen[point]))
    return steps


def begun_within(trace: Sequence[str]) -> list[str]:
    """A trace without the ends of what began before it.

    Whoever waits for a commit sees it before the daemon passes the point behind it: that point
    belongs to what was prepared, and the next telling may well have it there.
    """
    open_acts: Counter[str] = Counter()
    kept = []
    for point in trace:
        act = act_of(point)
        if point.endswith(".before"):
            open_acts[act] += 1
        elif point.endswith(".after"):
            if not open_acts[act]:
                continue
            open_acts[act] -= 1
        kept.append(point)
    return kept


def act_of(point: str) -> str:
    """The commit or the call before or after which a point lies."""
    return point.removesuffix(".before").removesuffix(".after")
