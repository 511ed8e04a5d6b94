"""A daemon that hangs is told from one that works, and what it had recorded outlives its end."""

from __future__ import annotations

import os
import signal
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
INTERVAL_SECONDS = 10
"""A busy machine must not look like a daemon that hangs, which half of it tells."""


def doctor(sandboxd: Daemon) -> set[tuple[str, str]]:
    """What the doctor says of the control node."""
    checks = sandboxd.api.get("/v1/doctor")["checks"]
    return {(one["name"], one["verdict"]) for one in checks if one["subject"] == "control node"}


@pytest.mark.timeout(500)
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
        supervisor.wait_for(b"STATUS=stuck: writer")
        supervisor.drain()
        with pytest.raises(Refused, match="writer has been at one turn for") as refused:
            sandboxd.api.get("/readyz")
        assert refused.value.status == 503
        assert supervisor.waits_in_vain(b"WATCHDOG=1", seconds=2 * INTERVAL_SECONDS)
        assert sandboxd.host("demo-1")["state"] == "CORDONED"  # reading goes on
        assert doctor(sandboxd) >= {("loops", "failed"), ("database", "failed")}
        assert sandboxd.log.read_text().count("the watchdog is not fed") == 1

        process = sandboxd.process
        assert process is not None
        os.kill(process.pid, signal.SIGABRT)  # what systemd does then
        wait_until(lambda: not process.is_running, what="the end of the daemon")
        assert process.exit_code == -signal.SIGABRT
        assert "hanging.py" in sandboxd.log_tail()  # where the thread stood

        pipe.unlink()
        sandboxd.start()
        supervisor.wait_for(b"WATCHDOG=1")
        assert sandboxd.host("demo-1")["state_reason"] == "before the hang"
    supervisor.close()
