"""A daemon that hangs is told from one that works, and what it had recorded outlives its end."""

from __future__ import annotations

import json
import os
import re
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from scheduler.cli.failures import Refused
from tests.fleet.process import wait_until
from tests.proof.daemon import Daemon, running
from tests.proof.hanging import PIPE
from tests.proof.supervisor import Supervisor

CONFIG = """
[lifecycle]
poll_seconds = 1
[metrics]
enabled = false
"""
FED = "; the watchdog is"
"""In the line that tells what is stuck, and in the one that nothing is any more."""
WORDS = re.compile(r" has been | wakes ")
INTERVAL_SECONDS = 10
"""A busy machine must not look like a daemon that hangs, which half of it tells."""


def doctor(sandboxd: Daemon) -> set[tuple[str, str]]:
    """What the doctor says of the control node."""
    checks = sandboxd.api.get("/v1/doctor")["checks"]
    return {(one["name"], one["verdict"]) for one in checks if one["subject"] == "control node"}


def told_as_stuck(sandboxd: Daemon) -> list[set[str]]:
    """Return what was said to be stuck, line by line: on a busy machine more parts become so."""
    lines = [json.loads(one) for one in sandboxd.log.read_text().splitlines() if FED in one]
    assert lines
    return [{WORDS.split(part)[0] for part in one.get("parts", ())} for one in lines]


@pytest.mark.timeout(900)
def test_a_daemon_that_hangs_is_not_fed_and_comes_back(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    supervisor = Supervisor(tmp_path / "notify")
    environment = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": str(INTERVAL_SECONDS * 1_000_000),
        PIPE: str(pipe),
    }
    with running(
        tmp_path, CONFIG, "--demo", module="tests.proof.hanging", **environment
    ) as sandboxd:
        supervisor.wait_for(b"READY=1")
        supervisor.wait_for(b"WATCHDOG=1")
        assert doctor(sandboxd) >= {("database", "ok"), ("permissions", "ok")}
        sandboxd.api.post("/v1/hosts/demo-1/cordon", {"reason": "before the hang"})

        os.mkfifo(pipe)
        supervisor.wait_for(b"writer has been at one turn")
        supervisor.drain()
        with pytest.raises(Refused, match="writer has been at one turn for") as refused:
            sandboxd.api.get("/readyz")
        assert refused.value.status == 503
        assert supervisor.waits_in_vain(b"WATCHDOG=1", seconds=2 * INTERVAL_SECONDS)
        assert sandboxd.host("demo-1")["state"] == "CORDONED"  # reading goes on
        assert doctor(sandboxd) >= {("loops", "failed"), ("database", "failed")}
        told = told_as_stuck(sandboxd)
        assert all(earlier != later for earlier, later in pairwise(told)), "each is told once"

        process = sandboxd.process
        assert process is not None
        os.kill(process.pid, signal.SIGABRT)  # what systemd does then
        wait_until(lambda: not process.is_running, what="the end of the daemon", limit_s=180)
        assert process.exit_code == -signal.SIGABRT
        assert "hanging.py" in sandboxd.log_tail()  # where the thread stood

        pipe.unlink()
        sandboxd.start()
        supervisor.wait_for(b"WATCHDOG=1")
        assert sandboxd.host("demo-1")["state_reason"] == "before the hang"
    supervisor.close()
