"""The SSH authority is rotated and retired under guests that run, with OpenSSH on both ends.

One story, because each step starts from what the ones before it left.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncssh
import pytest

from scheduler.clock import SystemClock
from scheduler.guests.authorities import Authority, read_authority
from scheduler.guests.certificates import Grant, user_certificate
from scheduler.ids import new_serial
from tests.cli.running import PROGRAM, Ran, Sandboxctl, environment
from tests.fleet.fleet import Fleet
from tests.fleet.process import wait_until
from tests.proof.daemon import Daemon, Document, running
from tests.proof.test_main_job import configuration

BODY = {"base_image": "small.qcow2", "agent_id": "proof", "vcpus": 1, "memory_mb": 128}
BOOT_S = 580.0


@dataclass(frozen=True)
class Story:
    """A daemon, its command line, and what was kept of the first authority."""

    daemon: Daemon
    directory: Path

    @property
    def ctl(self) -> Sandboxctl:
        return Sandboxctl(self.daemon.socket)

    def create(self, name: str) -> Document:
        body = {**BODY, "storage_mb": 256, "sandbox_name": name, "ready": "ssh"}
        self.daemon.api.post("/v1/sandboxes", body)
        return self.daemon.wait_for(name, state="RUNNING", seconds=BOOT_S)

    def done(self, *arguments: str) -> Ran:
        ran = self.ctl(*arguments)
        assert ran.code == 0, ran.err
        return ran

    def ssh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ssh as its users do, in a process of its own."""
        return subprocess.run(
            [*PROGRAM, "ssh", *arguments],
            env=environment(self.daemon.socket),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def session(self, name: str) -> Iterator[subprocess.Popen[str]]:
        """Hold a session that answers each line with the same line."""
        with subprocess.Popen(
            [*PROGRAM, "ssh", name, "cat"],
            env=environment(self.daemon.socket),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def states(self) -> dict[str, str]:
        listed = self.ctl("ca", "show", "-o", "json").document
        return {one["name"]: one["state"] for one in listed}

    def certificate(self, box: Document) -> Document:
        """Have a key of one's own signed; it lies beside its certificate."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        (self.directory / "mine").write_bytes(key.export_private_key())
        (self.directory / "mine").chmod(0o600)
        body = {"public_key": key.export_public_key().decode()}
        issued: Document = self.daemon.api.post(f"/v1/sandboxes/{box['id']}/ssh-certificates", body)
        (self.directory / "known_hosts").write_text(issued["known_hosts"])
        return issued

    def openssh(self, box: Document, issued: Document, certificate: str) -> Ran:
        """Log in through the daemon with the key and any certificate for it."""
        (self.directory / "mine-cert.pub").write_text(certificate)
        tunnel = f"tunnel --socket {self.daemon.socket} --certificate {issued['id']} {box['id']}"
        settings = {
            "ProxyCommand": f"{PROGRAM[0]} -c '{PROGRAM[2]}' {tunnel}",
            "IdentityFile": str(self.directory / "mine"),
            "CertificateFile": str(self.directory / "mine-cert.pub"),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": str(self.directory / "known_hosts"),
            "HostKeyAlias": box["id"],
            "PreferredAuthentications": "publickey",
            "StrictHostKeyChecking": "yes",
        }
        options = [f"-o{name}={value}" for name, value in settings.items()]
        ended = subprocess.run(
            ["ssh", "-F", "none", *options, "-l", "root", box["id"], "echo in"],
            stdin=subprocess.DEVNULL,
            env=environment(self.daemon.socket),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(ended.returncode, ended.stdout, ended.stderr)

    def signed_by(self, authority: Authority, box: Document) -> str:
        """Sign a login for one's own key as whoever has an authority's key can."""
        now = SystemClock().now()
        grant = Grant(
            serial=new_serial(),
            sandbox_id=box["id"],
            identity="proof",
            valid_after=now - timedelta(days=3650),
            valid_before=now + timedelta(days=1),
        )
        mine = asyncssh.read_private_key(self.directory / "mine").convert_to_public()
        return user_certificate(authority, mine, grant).export_certificate().decode()


def answers(process: subprocess.Popen[str], line: str) -> bool:
    """Whether a session is alive, both ways."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline() == f"{line}\n"


def retired_and_given_up(story: Story, new: Document, before: Document) -> None:
    """Go on after the daemon's death with one guest left, which is given up in the end."""
    story.daemon.kill()
    story.daemon.start()
    assert story.states() == {"ssh-ca.2": "SIGNING", "ssh-ca.1": "KEPT"}
    story.done("ca", "retire", "ssh-ca.1", "-y")
    assert story.states() == {"ssh-ca.2": "SIGNING", "ssh-ca.1": "RETIRED"}
    assert not [*story.daemon.state_dir.glob("ssh-ca.1*")]
    listed = story.ctl("login", "certificates", "-o", "json").document
    (revoked,) = (one for one in listed if one["id"] == before["id"])
    assert revoked["revoked_at"] is not None
    assert story.ssh("new", "echo still").stdout == "still\n"
    story.done("ca", "rotate")
    story.done("ca", "retire", "ssh-ca.2", "--force", "-y")
    refused_now = story.ssh("new", "echo never")
    assert refused_now.returncode != 0
    assert "is not here" in refused_now.stderr
    assert story.daemon.sandbox("new")["state"] == "RUNNING"
    told = story.ctl("doctor", "-o", "json").document["checks"]
    lagging = [one for one in told if one["name"] == "ssh authority"]
    assert any("was retired, so 1 guests" in one["message"] for one in lagging), lagging
    story.daemon.api.delete("/v1/sandboxes/new")
    story.daemon.wait_for(new["id"], state="DESTROYED")


@pytest.mark.fleet
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_authorities_follow_one_another_under_running_guests(fleet: Fleet, tmp_path: Path) -> None:
    config = f"{configuration(fleet)}\n[guests]\nssh_certificate_seconds = 3600\n"
    with running(tmp_path, config) as daemon:
        story = Story(daemon, tmp_path)
        for host in fleet:
            wait_until(
                lambda name=host.name: daemon.host(name)["health"] == "UP",  # type: ignore[misc]
                what="hosts UP",
                limit_s=180,
            )
        old = story.create("old")
        first = read_authority(daemon.state_dir / "ssh-ca.1")
        with story.session("old") as held:
            assert answers(held, "before")
            before = story.certificate(old)
            assert story.openssh(old, before, before["certificate"]).out == "in\n"
            rotated = story.done("ca", "rotate", "-o", "name")
            assert rotated.out == "ssh-ca.2\n"
            assert story.states() == {"ssh-ca.2": "SIGNING", "ssh-ca.1": "KEPT"}
            assert answers(held, "after the rotation")
            assert story.ssh("old", "echo again").stdout == "again\n"
            assert story.done("exec", "old", "--", "echo", "ran").out == "ran\n"
            new = story.create("new")
            assert story.ssh("new", "echo new").stdout == "new\n"
            refused = story.ctl("ca", "retire", "ssh-ca.1", "-y")
            assert (refused.code, old["id"] in refused.err) == (5, True), refused.err
            issued = story.certificate(new)
            assert story.openssh(new, issued, issued["certificate"]).out == "in\n"
            stolen = story.openssh(new, issued, story.signed_by(first, new))
            assert (stolen.code, "Permission denied" in stolen.err) == (255, True), stolen.err
            assert answers(held, "until its end")
            daemon.api.delete("/v1/sandboxes/old")
            daemon.wait_for(old["id"], state="DESTROYED")
            assert held.wait(60) != 0
        retired_and_given_up(story, new, before)
