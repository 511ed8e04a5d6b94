"""What every test gets: the real servers of tests/fleet on request, and property tests that repeat.

In the whole proof Hypothesis draws the same examples each run: a red build is red for its change.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from scheduler.interpreter import COLLECT_AFTER
from tests.disks import mounted

pytest_plugins = ["tests.dealing", "tests.fleet.plugin", "tests.needs", "tests.retries"]

# As the daemon has it: an object of libvirt's that is collected between a call and its exception
# takes the error's words with it, and tests that ask for a code would fail now and then.
gc.set_threshold(COLLECT_AFTER)

# No deadlines, and no bound on how long examples take to be drawn: two busy cores say nothing
# about the code.
UNTIMED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("developer", **UNTIMED)
settings.register_profile("ci", **UNTIMED, derandomize=True, print_blob=True)
is_whole = os.environ.get("CI") or os.environ.get("SANDBOXD_TEST_WHOLE")
settings.load_profile("ci" if is_whole else "developer")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB, mounted for the test; only root may."""
    with mounted(tmp_path / "disk", "3m") as disk:
        yield disk


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A daemon that has ended leaves signals ignored, as its process ends; a test's goes on."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture
def logs_as_before() -> Iterator[None]:
    """Logging is configured for the whole process, which other tests share."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a service manager is told how its service is; reading it never waits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener
