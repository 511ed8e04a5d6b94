"""Moves for real: a guest's disk goes from host to host, by request and by a drain, and back.

One test, because each step starts from what the ones before it left; it ends by proving that no
pool and no control node holds anything of it.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scheduler.cli.main import cli
from tests.fleet.fleet import Fleet
from tests.fleet.host import IMAGES
from tests.fleet.process import wait_until
from tests.proof.daemon import Daemon, Document, running
from tests.proof.test_images import settings

GUEST = {"agent_id": "proof", "vcpus": 1, "memory_mb": 128, "storage_mb": 160}
NOTE = "/etc/note"
BOOT = "cat /proc/sys/kernel/random/boot_id"
STAYS = ("id", "domain_uuid", "mac", "expires_at", "labels", "ssh_ca", "ready")
"""What of a record no move changes."""


@dataclass(frozen=True)
class Journey:
    """One sandbox, two hosts to be on, and what a user can ask."""

    fleet: Fleet
    daemon: Daemon

    def sandboxctl(self, *arguments: str) -> Result:
        environment = {"SANDBOXD_SOCKET": str(self.daemon.socket), "USER": "ana"}
        return CliRunner().invoke(cli, arguments, env=environment, catch_exceptions=False)

    def told(self, *arguments: str) -> Document:
        ran = self.sandboxctl(*arguments, "-o", "json")
        assert ran.exit_code == 0, ran.stderr + ran.stdout + self.daemon.log_tail()
        document: Document = json.loads(ran.stdout)
        return document

    def hosts_come_up(self) -> None:
        for host in self.fleet:
            wait_until(
                lambda name=host.name: self.daemon.host(name)["health"] == "UP",  # type: ignore[misc]
                what=f"{host.name} UP",
                limit_s=60,
                every_s=0.2,
            )

    def create(self) -> Document:
        body = {**GUEST, "sandbox_name": "web", "base_image": "small.qcow2", "host": "h1"}
        body |= {"ttl_seconds": 3600, "labels": {"team": "ml"}, "ready": "ssh"}
        keys = [self.fleet.access.public_key]
        self.daemon.api.post("/v1/sandboxes", {**body, "ssh_public_keys": keys})
        return self.daemon.wait_for("web", state="RUNNING")

    def said(self, script: str) -> str:
        """Run a script in the guest once it answers, and return what it printed."""
        answers: list[str] = []

        def answered() -> bool:
            box = self.daemon.sandbox("web")
            if box["ip_address"] is None:
                return False
            host = self.fleet[box["host_name"]]
            argv = [*self.fleet.access.guest_argv(host.address, box["ip_address"]), script]
            try:
                ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            except subprocess.TimeoutExpired:
                return False
            answers.extend([ran.stdout.strip()] if ran.returncode == 0 else [])
            return ran.returncode == 0

        wait_until(answered, what=f"web runs {script}", limit_s=180, every_s=0.5)
        return answers[-1]

    def images(self) -> list[Document]:
        return list(self.daemon.api.items("/v1/images"))

    def is_empty(self, name: str) -> bool:
        """Return whether a host holds nothing of ours, and nothing is charged to it."""
        host, record = self.fleet[name], self.daemon.host(name)
        pool = [path.name for path in host.file(IMAGES).iterdir()]
        domains = host.virsh("list", "--all", "--name").split()
        charged = [record[f"reserved_{what}"] for what in ("cpus", "memory_mb", "storage_mb")]
        return (pool, domains, charged) == (["small.qcow2"], [], [0, 0, 0])

    def becomes_empty(self, name: str) -> None:
        wait_until(lambda: self.is_empty(name), what=f"an empty {name}", limit_s=120, every_s=0.5)

    def is_charged_once(self, name: str) -> None:
        record = self.daemon.host(name)
        assert (record["reserved_cpus"], record["reserved_storage_mb"]) == (1, 160)
        audit = self.daemon.api.get("/v1/audit", wait="20s")
        assert (audit["findings"], audit["orphans"]) == ([], [])

    def it_is_the_same(self, before: Document, after: Document, host: str) -> None:
        assert (after["host_name"], after["state"]) == (host, "RUNNING")
        assert {name: after[name] for name in STAYS} == {name: before[name] for name in STAYS}
        assert (after["move_asked_at"], after["failed_hosts"]) == (None, [])
        assert self.said(f"cat {NOTE}") == "kept"
        # By the daemon's own way in: the guest still has its host key and trusts the authority.
        ran = self.sandboxctl("exec", "web", "--", "cat", NOTE)
        assert (ran.exit_code, ran.stdout) == (0, "kept\n"), ran.stderr
        address = f" {after['ip_address']}/"
        leases = self.fleet[host].virsh("domifaddr", "web", "--source", "lease")
        assert address in leases

    def it_is_moved(self, before: Document, host: str) -> Document:
        booted = self.said(BOOT)
        plan = self.told("move", "web", "--dry-run")
        assert plan["host_name"] == host
        ran = self.sandboxctl("move", "web", "--reason", "new fan", "--timeout", "4m", "-o", "json")
        assert ran.exit_code == 0, ran.stderr + self.daemon.log_tail()
        told = ran.stderr
        assert "move requested" in told
        assert f"placed on {host}" in told
        after: Document = json.loads(ran.stdout)
        self.it_is_the_same(before, after, host)
        assert self.said(BOOT) != booted
        decision = self.told("why", "web")
        assert (decision["host_name"], decision["sandbox_id"]) == (host, before["id"])
        (image,) = self.images()
        assert (image["state"], image["owner_sandbox_name"]) == ("READY", "web")
        assert after["image_digest"] == image["digest"]
        refused = self.sandboxctl("image", "delete", image["name"], "-y")
        assert refused.exit_code == 5
        return after

    def it_is_drained_away(self, before: Document, host: str) -> Document:
        plan = self.told("host", "drain", before["host_name"], "--policy", "move", "--plan")
        assert [(one["sandbox_name"], one["verb"]) for one in plan["actions"]] == [("web", "move")]
        former = {image["id"] for image in self.images()}
        drained = self.sandboxctl(
            *("host", "drain", before["host_name"], "--policy", "move"),
            *("--on-deadline", "keep", "-y", "--timeout", "4m", "-o", "json"),
        )
        assert drained.exit_code == 0, drained.stderr + self.daemon.log_tail()
        assert json.loads(drained.stdout)["state"] == "FINISHED"
        after = self.daemon.wait_for("web", state="RUNNING", host_name=host)
        self.it_is_the_same(before, after, host)
        wait_until(
            lambda: not former & {image["id"] for image in self.images()},
            what="the end of the former image",
            limit_s=180,
            every_s=1.0,
        )
        return after

    def nothing_is_left(self, sandbox_id: str) -> None:
        self.daemon.api.delete(f"/v1/sandboxes/{sandbox_id}")
        self.daemon.wait_for(sandbox_id, state="DESTROYED")
        for host in self.fleet:
            self.becomes_empty(host.name)
        wait_until(lambda: not self.images(), what="no image", limit_s=180, every_s=1.0)
        kept = self.daemon.state_dir / "images"
        assert not [path for path in kept.rglob("*") if path.is_file()]


@pytest.mark.fleet
@pytest.mark.timeout(900)
def test_a_guest_moves_with_its_disk_and_is_drained_back(tmp_path: Path, guest_image: Path) -> None:
    with Fleet.make(2) as fleet, running(tmp_path, settings(fleet)) as daemon:
        journey = Journey(fleet, daemon)
        journey.hosts_come_up()
        box = journey.create()
        journey.said(f"echo kept > {NOTE} && sync")
        box = journey.it_is_moved(box, "h2")
        journey.becomes_empty("h1")
        journey.is_charged_once("h2")
        box = journey.it_is_drained_away(box, "h1")
        journey.becomes_empty("h2")
        assert daemon.host("h2")["state"] == "DRAINED"
        journey.is_charged_once("h1")
        journey.nothing_is_left(box["id"])
