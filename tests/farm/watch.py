"""What callers of a daemon notice: how long answers and sandboxes take, how old facts get.

Beside it another daemon, with one host that is well, is asked the same at the same time: it tells
what the machine itself costs, however busy others keep it. And there is how late a sleep ends.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Self
from urllib.request import urlopen

from tests.metrics.reading import key, read
from tests.proof.daemon import Daemon

EVERY_S = 0.1
LAG_S = 0.25
"""The most that nine in ten may be worse than beside; a busy machine takes a turn from anybody."""
WAIT_S = 8.0
"""Below what anybody waits who waits for a host that does not answer, which is 10 s or more."""
LAG = key("event_loop_lag_seconds")


@dataclass
class Seen:
    """What was measured of one daemon over a time, in seconds."""

    answers: list[float] = field(default_factory=list)
    """How long the API took to tell of the watched host."""
    lags: list[float] = field(default_factory=list)
    """How late the daemon's loop woke, by its own metric."""
    rounds: list[float] = field(default_factory=list)
    """How long sandboxes took to come and go on the watched host."""
    looks: set[str] = field(default_factory=set)
    """When the watched host was looked at, as the API tells it."""

    @property
    def gaps(self) -> list[float]:
        """How long the watched host was not looked at."""
        times = sorted(datetime.fromisoformat(at) for at in self.looks)
        return [(later - sooner).total_seconds() for sooner, later in pairwise(times)]


@dataclass
class Watched:
    """A daemon and the one of its hosts that is watched."""

    daemon: Daemon
    host: str
    seen: Seen = field(default_factory=Seen)

    def __post_init__(self) -> None:
        self._page = f"http://127.0.0.1:{metrics_port(self.daemon)}/metrics"

    def look(self) -> None:
        """Measure once."""
        asked = time.monotonic()
        self.seen.looks.add(self.daemon.host(self.host)["observed_at"])
        self.seen.answers.append(time.monotonic() - asked)
        with urlopen(self._page, timeout=60) as page:
            self.seen.lags.append(read(page.read())[LAG])


class Watch:
    """Watches a daemon, and another beside it, while its block runs."""

    def __init__(self, watched: Watched, beside: Watched) -> None:
        self.watched = watched
        self.beside = beside
        self._noises = [0.0]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def assert_nobody_waited(self) -> None:
        """Fail if a caller, the watched host or the loop waited, beside what the machine costs."""
        seen, beside = self.watched.seen, self.beside.seen
        for measured in MEASURED:
            mine, theirs = measured.of(seen), measured.of(beside)
            assert mine, f"no {measured.name}"
            for share, times, bound_s in (
                (0.5, measured.times, measured.usual_s),
                (0.9, measured.times, LAG_S),
                (1.0, 1.0, WAIT_S),
            ):
                most = times * quantile(theirs, share) + bound_s
                assert quantile(mine, share) < most, f"{measured.name} {share}: {self._told()}"

    def _told(self) -> str:
        lines = [f"worst noise {max(self._noises):.3f} s"]
        for measured in MEASURED:
            for name, one in (("watched", self.watched), ("beside", self.beside)):
                found = measured.of(one.seen)
                told = ", ".join(f"{quantile(found, share):.3f}" for share in (0.5, 0.9, 1.0))
                lines.append(f"{measured.name} of {name} ({len(found)}): {told} s")
        return "\n".join(lines)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._look()
        except BaseException as failure:  # it belongs to the test
            self._failure = failure

    def _look(self) -> None:
        begun = time.monotonic()
        self._stop.wait(EVERY_S)
        if not self._stop.is_set():
            self._noises.append(time.monotonic() - begun - EVERY_S)
        self.watched.look()
        self.beside.look()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Something that is compared: how many times as long it may take as beside, and how much more.

    `usual_s` is what is allowed to half of it; less happy ones may take the bound of the lag more.
    """

    name: str
    of: Callable[[Seen], Sequence[float]]
    times: float
    usual_s: float


MEASURED = (
    # The other daemon has less to do: one host, no troubles.
    Measured(name="answers", of=lambda seen: seen.answers, times=3.0, usual_s=0.05),
    Measured(name="lags", of=lambda seen: seen.lags, times=3.0, usual_s=0.05),
    # Most of these is waiting for the next second.
    Measured(name="gaps", of=lambda seen: seen.gaps, times=1.5, usual_s=LAG_S),
    Measured(name="rounds", of=lambda seen: seen.rounds, times=2.0, usual_s=LAG_S),
)


def quantile(found: Sequence[float], share: float) -> float:
    """Return what so large a share of it does not exceed; the worst for all of it, and only then.

    The worst of a few may be the machine's: a process is stopped for seconds, and its twin is not.
    """
    return sorted(found)[int(share * (len(found) - 1))] if found else 0.0


def metrics_port(daemon: Daemon) -> int:
    """Return where a daemon's metrics page is, which its log tells."""
    told = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    ports = [line["port"] for line in told if line.get("event") == "metrics"]
    return int(ports[-1])
