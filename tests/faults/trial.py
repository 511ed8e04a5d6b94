"""One trial: a story is told to a daemon that dies in the middle, and must come true all the same.

The client that lost its answer does what clients do: it sends its requests again, with the same
keys. Within a minute of the restart the story has its end and the audit finds no fault, or the
trial has failed.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from tests.faults.audit import faults
from tests.faults.books import read_books
from tests.faults.cluster import Cluster
from tests.faults.fuse import ANY, act_of
from tests.faults.story import BY_THE_WAY, NeverReached, Story
from tests.fleet.process import wait_until

DEATH_S = 30.0
LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """Where the daemon dies: the nth time a point is reached, and perhaps again after that."""

    point: str
    nth: int = 1
    again_at: int | None = None
    """Counted in points of any name from the restart on: a death in the midst of recovery."""
    mid_call: bool = False
    """The call goes out, and the host carries it out only when the next daemon runs."""

    def __str__(self) -> str:
        second = "" if self.again_at is None else f" then point {self.again_at}"
        return f"{self.point} #{self.nth}{second}{' mid-call' if self.mid_call else ''}"


@dataclass(kw_only=True)
class Trial:
    """A story on a cluster whose daemon runs; afterwards it runs again, with nothing of ours."""

    cluster: Cluster
    story: Story
    begun_at: float = field(default_factory=time.monotonic)

    def watch(self) -> list[str]:
        """Tell the story without a death; return the points it reached, in order."""
        self.story.prepare()
        self.begun_at = time.monotonic()
        self.cluster.fuse.put_out()
        self.story.act()
        self._until(self.story.is_done, "the story's end")
        trace = self.cluster.fuse.trace()
        self.story.mend()
        self._until_faultless()
        self._clean_up()
        return trace

    def run(self, death: Death) -> float:
        """Tell the story across a death; return how many seconds recovery took."""
        self.story.prepare()
        hosts = self.cluster.hosts if death.mid_call else ()
        self.cluster.fuse.light(death.point, death.nth, freezing=[host.pid for host in hosts])
        self._act()
        self._wait_for_death(death)
        self._recover(death)
        self.story.repeat()
        self._until(self.story.is_done, "the story's end")
        self.story.mend()
        self._until_faultless()
        seconds = time.monotonic() - self.begun_at
        self._clean_up()
        return seconds

    def _act(self) -> None:
        try:
            self.story.act()
        except Failure as failure:
            if failure.exit_code is not Exit.UNREACHABLE:
                raise

    def _wait_for_death(self, death: Death) -> None:
        process = self.cluster.running
        try:
            code = process.wait_until_dead(DEATH_S)
        except TimeoutError as error:
            reached = [point for point in self.cluster.fuse.trace() if self._is_told(point)]
            raise NeverReached(f"{death} was never reached, only: {reached}") from error
        assert code == -signal.SIGKILL, f"ended with {code}\n{process.log_tail()}"
        assert self.cluster.fuse.has_blown

    def _is_told(self, point: str) -> bool:
        return act_of(point) not in BY_THE_WAY

    def _recover(self, death: Death) -> None:
        fuse = self.cluster.fuse
        if death.again_at is not None:
            fuse.light(ANY, death.again_at)
            self.cluster.launch()
            self._wait_for_death(death)
        fuse.put_out()
        self.begun_at = time.monotonic()
        self.cluster.start()
        for host in self.cluster.hosts if death.mid_call else ():
            host.resume()

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for a condition until the time for convergence is over."""
        left = self.story.converges_s - (time.monotonic() - self.begun_at)
        wait_until(holds, what=what, limit_s=max(left, 1.0), every_s=LOOK_EVERY_S)

    def _until_faultless(self) -> None:
        found: list[str] = []

        def faultless() -> bool:
            found[:] = [*faults(self.cluster), *self.story.faults()]
            return not found

        try:
            self._until(faultless, "a faultless audit")
        except TimeoutError as error:
            raise AssertionError("\n".join(found)) from error

    def _clean_up(self) -> None:
        """Destroy everything, with a daemon that lives, to the last file."""
        api = self.cluster.api
        self.begun_at = time.monotonic()
        for sandbox in list(api.items("/v1/sandboxes")):
            api.delete(f"/v1/sandboxes/{sandbox['id']}")
        self._until(lambda: not list(api.items("/v1/sandboxes")), "everything destroyed")
        self.story.clean_up()
        for host in list(api.items("/v1/hosts")):
            if host["state"] == "DRAINING":
                api.post(f"/v1/hosts/{host['name']}/drain/undo")
            elif host["state"] != "ACTIVE":
                api.post(f"/v1/hosts/{host['name']}/uncordon")
        self._until_faultless()
        books = read_books(self.cluster.store_config)
        left = (books.live, books.volumes, books.allocations)
        assert not any(left), f"left after everything was destroyed: {left}"
