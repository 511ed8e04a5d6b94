"""A daemon without free file descriptors serves whom it serves, and the others when some return."""

from __future__ import annotations

import http.client
import json
import os
import resource
import socket
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.process import wait_until
from tests.proof.daemon import running
from tests.proof.supervisor import Supervisor

CONFIG = """
[lifecycle]
poll_seconds = 1
[metrics]
listen = "127.0.0.1:0"
"""
CROWD = 12
SPARE = 3
"""Descriptors left to the daemon when the crowd comes."""
ASKING = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
BOX = {"base_image": "debian-12.qcow2", "agent_id": "test", "vcpus": 1, "memory_mb": 256}
TOLD = "new connections wait"


class Held(http.client.HTTPConnection):
    """A connection to the admin socket that is kept."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=180)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(180)
        self.sock.connect(str(path))

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json", "Idempotency-Key": os.urandom(8).hex()}
        content = None if body is None else json.dumps(body)
        self.request(method, path, body=content, headers=headers)
        answer = self.getresponse()
        return answer.status, json.loads(answer.read())

    def become(self, sandbox_id: str, state: str) -> None:
        """Wait until a sandbox is in a state."""

        def became() -> bool:
            status, box = self.ask("GET", f"/v1/sandboxes/{sandbox_id}")
            assert status == 200, box
            return str(box["state"]) == state

        wait_until(became, what=f"{sandbox_id} {state}", limit_s=120, every_s=0.1)

    def create(self, name: str) -> str:
        """Create a sandbox, see it running, and return its id."""
        status, box = self.ask("POST", "/v1/sandboxes", {**BOX, "sandbox_name": name})
        assert status == 202, box
        self.become(box["id"], "RUNNING")
        return str(box["id"])


def connected(path: Path) -> socket.socket:
    """Ask without being accepted yet."""
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(180)
    one.connect(str(path))
    one.sendall(ASKING)
    return one


def allow(pid: int, descriptors: int) -> None:
    _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors, most))


def opened(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - their names do not matter


@pytest.mark.timeout(500)
def test_without_descriptors_nothing_is_lost_and_it_is_told_once(tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
    with (
        closing(Supervisor(tmp_path / "notify")) as supervisor,
        running(tmp_path, CONFIG, "--demo", **environment) as sandboxd,
        closing(Held(sandboxd.socket)) as held,
        ExitStack() as stack,
    ):
        assert sandboxd.process is not None
        pid = sandboxd.process.pid
        wait_until(lambda: sandboxd.host("demo-1")["health"] == "UP", what="UP", limit_s=180)
        box = held.create("before")

        allow(pid, opened(pid) + SPARE)
        crowd = [stack.enter_context(closing(connected(sandboxd.socket))) for _ in range(CROWD)]
        wait_until(
            lambda: TOLD in sandboxd.log.read_text(), what="the shortage is told", limit_s=180
        )

        # Requests, the writer, the loops and the hosts go on. (A simulated host opens files of
        # this process to define a domain, so nothing is built there now.)
        assert held.ask("POST", f"/v1/sandboxes/{box}/stop")[0] == 202
        held.become(box, "STOPPED")
        _, report = held.ask("GET", "/v1/doctor")
        verdicts = {one["name"]: one["verdict"] for one in report["checks"]}
        assert (verdicts["file descriptors"], verdicts["database"]) == ("failed", "ok")
        supervisor.drain()
        supervisor.wait_for(b"WATCHDOG=1", seconds=180)

        # Each one that goes leaves its descriptor to the next: all are answered, in order.
        for one in crowd:
            assert one.recv(4096).startswith(b"HTTP/1.1 200 ")
            one.close()
        allow(pid, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        with closing(Held(sandboxd.socket)) as late:
            late.create("after")
        assert sandboxd.sandbox(box)["state"] == "STOPPED"
        log = sandboxd.log.read_text()
        assert log.count(TOLD) == 1
        assert "Traceback" not in log
        assert "out of system resource" not in log
        assert sandboxd.stop() == 0
