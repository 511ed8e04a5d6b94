"""The daemon at work under the system-call filter of its own unit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from scheduler import interpreter
from scheduler.cli.client import Client
from tests.cli.running import Sandboxctl
from tests.deploy.test_unit import needs_systemd, service
from tests.fleet.process import Server, wait_until
from tests.proof.daemon import START_LIMIT_S, Daemon

FILTERED = Path(__file__).with_name("filtered.py")
PYTHON = "/usr/bin/python3"
"""Debian's own, which finds Debian's own python3-seccomp."""
NOT_ROOT = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
"""Somebody without rights, as the unit's user is, who may read what this user may."""
IMAGE = "debian-12.qcow2"

pytestmark = [needs_systemd, pytest.mark.timeout(900)]


def group(name: str) -> set[str]:
    """Return the calls of one of systemd's groups, and of the groups in it."""
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
    )
    words = [line.strip() for line in told.stdout.splitlines()[1:]]
    calls = {word for word in words if word and word[0] not in "#@"}
    return calls.union(*(group(word) for word in words if word.startswith("@")))


def permitted(filters: list[str]) -> set[str]:
    """Return what a list of `SystemCallFilter=` permits; the first one has to permit something."""
    calls: set[str] = set()
    for line in filters:
        named: set[str] = set()
        for word in line.removeprefix("~").split():
            named |= group(word) if word.startswith("@") else {word}
        calls = calls - named if line.startswith("~") else calls | named
    return calls


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Yield a daemon with simulated hosts, which may do what its unit permits."""
    names, log, config = tmp_path / "calls", tmp_path / "log", tmp_path / "config.toml"
    names.write_text("\n".join(sorted(permitted(service()["SystemCallFilter"]))))
    config.write_text('[metrics]\nenabled = false\n[api]\ngroup = ""\n')
    argv = [*NOT_ROOT, PYTHON, FILTERED, names, sys.executable, "-m", "scheduler.daemon", "--demo"]
    argv += ["--config", config, "--state-dir", socket(tmp_path).parent]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    server = Server.start([str(one) for one in argv], log=log, environment=environment)
    try:
        sandboxd = Daemon(state_dir=socket(tmp_path).parent, config=config)
        server.wait_until_ready(sandboxd.is_ready, limit_s=START_LIMIT_S)
        yield server
    finally:
        server.stop()
    assert server.exit_code == 0, log.read_text()


def socket(directory: Path) -> Path:
    """Return where a test's daemon listens."""
    return directory / "state" / "admin.sock"


def ctl(directory: Path, *words: str) -> None:
    """Run `sandboxctl` to its end, which must be a good one."""
    ran = Sandboxctl(socket(directory))(*words)
    assert ran.code == 0, ran


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Client:
    """Return a way to the daemon, which runs."""
    assert server.is_running
    return Client(str(socket(tmp_path)), answer_seconds=180)


def test_the_daemon_works_under_its_units_filter(client: Client) -> None:
    body = {"base_image": IMAGE, "agent_id": "proof", "sandbox_name": "box"}
    wait_until(lambda: client.get("/v1/hosts/demo-1")["health"] == "UP", what="a host", limit_s=180)
    client.post("/v1/sandboxes", body | {"vcpus": 1, "memory_mb": 512, "storage_mb": 2048})
    wait_until(
        lambda: client.get("/v1/sandboxes/box")["state"] == "RUNNING", what="box", limit_s=180
    )
    client.delete("/v1/sandboxes/box")


def test_its_threads_share_one_processor(server: Server) -> None:
    allowed = []
    for one in Path(f"/proc/{server.pid}/task").iterdir():
        with suppress(ProcessLookupError):  # a thread that has ended since
            allowed.append(os.sched_getaffinity(int(one.name)))
    assert min(map(len, allowed)) == 1
    assert set().union(*allowed) <= interpreter.PROCESSORS


def test_an_image_is_judged_in_its_jail(client: Client, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "8M"], check=True)
    ctl(tmp_path, "image", "upload", str(image), "--name", "judged")
    assert client.get("/v1/images/judged")["state"] == "READY"


def test_ansible_checks_a_playbook_in_its_jail(client: Client, tmp_path: Path) -> None:
    ctl(tmp_path, "playbook", "create", "web", "--hosts", "all")
    ctl(tmp_path, "playbook", "task", "add", "web", "ansible.builtin.ping", "--name", "Ping")
    ctl(tmp_path, "playbook", "check", "web", "--timeout", "280s")
    assert client.get("/v1/playbooks/web")["name"] == "web"
