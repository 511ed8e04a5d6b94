"""What a daemon's callers notice meanwhile: how long answers take, how old one host's facts grow.

Beside them stands what the machine itself costs: how late a sleep of this process ends. On a busy
machine the daemon's loop is as late without being at fault.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Self
from urllib.request import urlopen

from tests.metrics.reading import key, read
from tests.proof.daemon import Daemon

EVERY_S = 0.1
LAG_S = 0.25
"""The most that the daemon's loop may be late."""
WAIT_S = 5.0
"""Below what anybody waits who waits for a host that does not answer, which is 10 s or more."""
LAG = key("event_loop_lag_seconds")


@dataclass
class Seen:
    """What was measured over a time, in seconds; the worst of each."""

    answer_s: float = 0.0
    """How long the API took to tell of the watched host."""
    unseen_s: float = 0.0
    """How long the watched host was not looked at."""
    lag_s: float = 0.0
    """How late the daemon's loop woke, by its own metric."""
    noise_s: float = 0.0
    """How late this process woke."""
    looks: set[str] = field(default_factory=set)
    """When the watched host was looked at, as the API tells it."""


class Watch:
    """Watches a daemon, and one of its hosts, while its block runs."""

    def __init__(self, daemon: Daemon, host: str) -> None:
        self.seen = Seen()
        self._daemon = daemon
        self._host = host
        self._page = f"http://127.0.0.1:{metrics_port(daemon)}/metrics"
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
        self.seen.unseen_s = _longest_gap(self.seen.looks)

    def assert_nobody_waited(self, idle: Seen | None = None) -> None:
        """Fail if a caller, the watched host or the loop waited, beside what idleness costs."""
        seen, idle = self.seen, idle or Seen()
        told = f"idle {idle}\nnow {seen}"
        assert seen.answer_s < WAIT_S, told
        assert seen.unseen_s < WAIT_S, told
        noise_s = max(idle.noise_s, seen.noise_s)
        assert seen.lag_s < max(LAG_S, idle.lag_s) + noise_s, told

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._look()
        except BaseException as failure:  # it belongs to the test
            self._failure = failure

    def _look(self) -> None:
        seen, begun = self.seen, time.monotonic()
        self._stop.wait(EVERY_S)
        if not self._stop.is_set():
            seen.noise_s = max(seen.noise_s, time.monotonic() - begun - EVERY_S)
        asked = time.monotonic()
        seen.looks.add(self._daemon.host(self._host)["observed_at"])
        seen.answer_s = max(seen.answer_s, time.monotonic() - asked)
        with urlopen(self._page, timeout=60) as page:
            seen.lag_s = max(seen.lag_s, read(page.read())[LAG])


def metrics_port(daemon: Daemon) -> int:
    """Return where a daemon's metrics page is, which its log tells."""
    told = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    ports = [line["port"] for line in told if line.get("event") == "metrics"]
    return int(ports[-1])


def _longest_gap(looks: set[str]) -> float:
    times = sorted(datetime.fromisoformat(at) for at in looks)
    gaps = [(later - sooner).total_seconds() for sooner, later in pairwise(times)]
    return max(gaps, default=0.0)
