"""Snapshots for real: a guest whose memory counts and whose disk is written, brought back to both.

One test a kind, because each step starts from what the ones before it left; both end by proving
that the pool holds nothing of ours.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from scheduler.cli.failures import Failure
from tests.fleet.fleet import Fleet
from tests.fleet.host import IMAGES, Host
from tests.fleet.process import wait_until
from tests.proof.daemon import Daemon, Document, running
from tests.proof.test_main_job import configuration

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(900)]

GUEST = {"agent_id": "proof", "vcpus": 1, "memory_mb": 128, "storage_mb": 160}
NOTE = "/root/note"
COUNT = "i=0; while :; do i=$((i+1)); echo $i >/run/count; sleep 0.2; done"
"""What is only in memory: a loop of the shell, and a file of a file system in memory."""


@dataclass(frozen=True)
class Bench:
    """One host, a daemon over it, and a guest."""

    fleet: Fleet
    daemon: Daemon
    name: str

    @property
    def host(self) -> Host:
        return self.fleet["h1"]

    def create(self, key: str) -> None:
        body = {**GUEST, "sandbox_name": self.name, "base_image": "small.qcow2"}
        self.daemon.api.post("/v1/sandboxes", {**body, "ssh_public_keys": [key]})
        self.daemon.wait_for(self.name, state="RUNNING")
        self.until_answers()

    def until_answers(self) -> None:
        wait_until(lambda: self.sh("true") is not None, what="the guest", limit_s=180, every_s=0.5)

    def sh(self, script: str) -> str | None:
        """Run a script in the guest; None when it does not answer."""
        address = self.daemon.sandbox(self.name)["ip_address"]
        if address is None:
            return None
        argv = [*self.fleet.access.guest_argv(self.host.address, address), script]
        try:
            ran = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        except subprocess.TimeoutExpired:
            return None
        return ran.stdout.strip() if ran.returncode == 0 else None

    def ask(self, verb: str, name: str, kind: str | None = None) -> Document:
        """Make, revert to or delete a snapshot, and wait for what comes of it."""
        path = f"/v1/sandboxes/{self.name}/snapshots"
        if verb == "make":
            answer = self.daemon.api.post(path, {"name": name, "kind": kind})
        elif verb == "revert":
            answer = self.daemon.api.post(f"{path}/{name}/revert", None)
        else:
            answer = self.daemon.api.delete(f"{path}/{name}")
        wait_until(lambda: self.rests(name), what=f"{verb} {name}", limit_s=180, every_s=0.5)
        items = self.daemon.api.get(path)["items"]
        return next((dict(one) for one in items if one["name"] == name), dict(answer))

    def rests(self, name: str) -> bool:
        items = self.daemon.api.get(f"/v1/sandboxes/{self.name}/snapshots")["items"]
        return all(one["state"] in ("READY", "FAILED") for one in items if one["name"] == name)

    def make(self, name: str, kind: str) -> Document:
        made = self.ask("make", name, kind)
        assert made["state"] == "READY", made
        return made

    def revert(self, name: str) -> None:
        back = self.ask("revert", name)
        assert (back["state"], back["reason"]) == ("READY", None), back
        self.daemon.wait_for(self.name, state="RUNNING")
        self.until_answers()

    def delete(self, name: str) -> None:
        self.ask("delete", name)
        assert name not in self.names()

    def names(self) -> set[str]:
        items = self.daemon.api.get(f"/v1/sandboxes/{self.name}/snapshots")["items"]
        return {one["name"] for one in items}

    def files(self) -> set[str]:
        stem = self.daemon.sandbox(self.name)["id"].lower()
        there = {path.name for path in self.host.file(IMAGES).iterdir()}
        return {name for name in there if name.startswith(stem) and name.endswith(".qcow2")}

    def audit_is_clean(self) -> None:
        audit = self.daemon.api.get("/v1/audit", wait="20s")
        assert (audit["findings"], audit["orphans"]) == ([], [])

    def destroy(self) -> None:
        box = self.daemon.sandbox(self.name)
        self.daemon.api.delete(f"/v1/sandboxes/{box['id']}")
        self.daemon.wait_for(box["id"], state="DESTROYED")
        assert [path.name for path in self.host.file(IMAGES).iterdir()] == ["small.qcow2"]
        assert box["sandbox_name"] not in self.host.virsh("list", "--all", "--name")
        self.audit_is_clean()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Fleet.make(1) as fleet:
        directory = tmp_path_factory.mktemp("snapshots")
        with running(directory, configuration(fleet)) as daemon:
            wait_until(
                lambda: daemon.host("h1")["health"] == "UP", what="h1", limit_s=60, every_s=0.2
            )
            yield Bench(fleet, daemon, "box")


def test_memory_and_disk_are_brought_back_together(bench: Bench) -> None:
    bench.create(bench.fleet.access.public_key)
    assert bench.sh(f"echo old >{NOTE}; sync; ({COUNT}) >/dev/null 2>&1 & sleep 1") is not None
    made = bench.make("point", "INTERNAL")
    assert made["memory"] is True
    count = int(bench.sh("cat /run/count") or "0")
    bench.sh(f"echo new >{NOTE}; sync; echo 1000000 >/run/mark")
    wait_until(lambda: int(bench.sh("cat /run/count") or "0") > count + 30, what="it counts on")
    with pytest.raises(Failure, match="another kind"):
        bench.make("other", "EXTERNAL")
    with pytest.raises(Failure, match="already"):
        bench.make("point", "INTERNAL")
    bench.revert("point")
    assert bench.sh(f"cat {NOTE}; ls /run/mark 2>/dev/null || echo none") == "old\nnone"
    bench.make("second", "INTERNAL")
    bench.audit_is_clean()
    bench.daemon.kill()
    bench.host.restart_libvirtd()
    bench.daemon.start()
    bench.revert("second")
    first = int(bench.sh("cat /run/count") or "0")
    wait_until(lambda: int(bench.sh("cat /run/count") or "0") > first, what="it counts again")
    bench.delete("point")
    bench.revert("second")
    bench.destroy()


def test_a_disk_five_layers_deep(bench: Bench) -> None:
    bench.create(bench.fleet.access.public_key)
    for number in range(5):
        bench.sh(f"echo {number} >/root/only-{number}; echo {number} >{NOTE}; sync")
        made = bench.make(f"s{number}", "EXTERNAL")
        assert made["ref"] in bench.files()
    bench.sh(f"echo live >{NOTE}; sync")
    assert len(bench.files()) == 6
    bench.audit_is_clean()
    for number in (2, 4, 0):
        bench.delete(f"s{number}")
    assert len(bench.files()) == 3
    assert bench.sh(f"cat {NOTE}; cat /root/only-4") == "live\n4"
    bench.audit_is_clean()
    bench.revert("s1")
    assert bench.sh(f"cat {NOTE}; cat /root/only-0; ls /root/only-2 2>&1 | wc -l") == "1\n0\n1"
    assert bench.sh("ls /root/only-3") is None
    bench.revert("s3")
    assert bench.sh(f"cat {NOTE}; cat /root/only-2") == "3\n2"
    bench.host.restart_libvirtd()
    bench.revert("s1")
    assert bench.sh(f"cat {NOTE}") == "1"
    bench.daemon.api.post("/v1/sandboxes/box/stop")
    bench.daemon.wait_for("box", state="STOPPED")
    bench.delete("s1")
    assert bench.daemon.sandbox("box")["state"] == "STOPPED"
    bench.daemon.api.post("/v1/sandboxes/box/start")
    bench.daemon.wait_for("box", state="RUNNING")
    bench.until_answers()
    assert bench.sh(f"cat {NOTE}; cat /root/only-1") == "1\n1"
    bench.audit_is_clean()
    bench.destroy()
