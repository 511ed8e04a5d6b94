"""A source VM for real: prepared, looked at, prepared for another authority, cloned on two hosts.

One test, because each step starts from what the ones before it left: a guest that somebody made by
hand, on two libvirt hosts over ssh.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scheduler.cli.main import cli
from scheduler.guests.authorities import make_authority
from tests.fleet.fleet import Fleet
from tests.fleet.guest import Guest
from tests.fleet.host import IMAGES
from tests.fleet.process import wait_until
from tests.proof.daemon import Daemon, Document, running
from tests.proof.test_main_job import configuration

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(1200)]

SIZE = ("--vcpus", "1", "--memory", "128MiB", "--storage", "256MiB")


def sandboxctl(daemon: Daemon, *arguments: str) -> Result:
    environment = {"SANDBOXD_SOCKET": str(daemon.socket), "USER": "ana"}
    return CliRunner().invoke(cli, arguments, env=environment, catch_exceptions=False)


def told(daemon: Daemon, *arguments: str) -> Document:
    ran = sandboxctl(daemon, *arguments, "-o", "json")
    assert ran.exit_code == 0, ran.stderr + ran.stdout
    document: Document = json.loads(ran.stdout)
    return document


def see(daemon: Daemon, fleet: Fleet) -> None:
    """Wait until every host was looked at by this daemon, and the machine with it."""
    for host in fleet:
        wait_until(
            lambda name=host.name: daemon.host(name)["health"] == "UP",  # type: ignore[misc]
            what=f"{host.name} UP",
            limit_s=120,
            every_s=0.5,
        )
    wait_until(
        lambda: sandboxctl(daemon, "source", "show", "h1", "master").exit_code == 0,
        what="the machine",
        limit_s=180,
        every_s=0.5,
    )


def seen_as(daemon: Daemon, state: str) -> None:
    wait_until(
        lambda: told(daemon, "source", "show", "h1", "master")["state"] == state,
        what=state,
        limit_s=180,
        every_s=0.5,
    )


def test_a_machine_of_somebody_else_is_prepared_and_cloned(tmp_path: Path) -> None:
    with Fleet.make(2) as fleet:
        master = Guest(fleet["h1"], "master", fleet.access)
        master.define()
        master.start()
        sources = f'[sources]\nssh_key = "{fleet.access.key}"\n'
        with running(tmp_path, sources + configuration(fleet)) as daemon:
            master.wait_for_ssh()
            see(daemon, fleet)
            _prepared_and_looked_at(daemon, master)
            _prepared_again_for_another_authority(daemon, fleet)
            _cloned(daemon, master)
        master.remove()
        for host in fleet:
            assert [path.name for path in host.file(IMAGES).iterdir()] == ["small.qcow2"]


def _prepared_and_looked_at(daemon: Daemon, master: Guest) -> None:
    prepared = told(daemon, "source", "prepare", "h1", "master", "-y")
    assert prepared["prepared"], prepared
    kinds = {secret["kind"] for secret in prepared["preparation"]["secrets"]}
    assert {"host_key", "authorized_keys"} <= kinds
    look = sandboxctl(daemon, "source", "inspect", "h1", "master", "--", "cat", "/etc/passwd")
    assert (look.exit_code, "sandboxd-inspect" in look.stdout) == (0, True), look.stderr
    secret = sandboxctl(daemon, "source", "inspect", "h1", "master", "--", "cat", "/etc/shadow")
    assert secret.exit_code == 1
    refused = sandboxctl(daemon, "source", "inspect", "h1", "master", "--", "find", "/", "-delete")
    assert refused.exit_code == 125
    assert master.run("sshd", "-t") == ""


def _prepared_again_for_another_authority(daemon: Daemon, fleet: Fleet) -> None:
    daemon.stop()
    make_authority(daemon.state_dir, 2)
    daemon.start()
    see(daemon, fleet)
    rotated = told(daemon, "source", "show", "h1", "master")
    assert (rotated["prepared"], "authority" in rotated["unprepared_because"]) == (False, True)
    refused = sandboxctl(daemon, "source", "freeze", "h1", "master")
    assert refused.exit_code == 5
    assert told(daemon, "source", "prepare", "h1", "master", "-y")["prepared"]
    look = sandboxctl(daemon, "source", "inspect", "h1", "master", "uptime")
    assert look.exit_code == 0, look.stderr


def _cloned(daemon: Daemon, master: Guest) -> None:
    live = sandboxctl(daemon, "source", "freeze", "h1", "master", "--as", "torn")
    assert (live.exit_code, "live disk" in live.stderr) == (1, True)
    master.run("echo here >/root/made; sync")
    master.host.virsh("shutdown", "master")
    master.wait_until_shut_off()
    seen_as(daemon, "shut_off")
    disk = master.host.file(f"{IMAGES}/master.qcow2")
    definition, before = master.host.virsh("dumpxml", "master"), _digest(disk)
    frozen = told(daemon, "source", "freeze", "h1", "master", "--as", "frozen")
    assert (frozen["state"], frozen["source_vm"]) == ("READY", "h1/master")
    for host in ("h1", "h2"):
        wish = ("--source-vm", "h1/master", "--name", f"clone-{host}", "--host", host, *SIZE)
        clone = told(daemon, "create", *wish, "--ready", "ssh")
        assert (clone["state"], clone["source_vm"]) == ("RUNNING", "h1/master")
        ran = sandboxctl(daemon, "exec", clone["id"], "--", "cat", "/root/made")
        assert (ran.exit_code, ran.stdout) == (0, "here\n")
    assert (master.host.virsh("dumpxml", "master"), _digest(disk)) == (definition, before), "I5"
    assert told(daemon, "audit")["findings"] == []
    for host in ("h1", "h2"):
        told(daemon, "delete", f"clone-{host}", "-y")
    told(daemon, "image", "delete", "frozen", "-y")
    wait_until(
        lambda: sandboxctl(daemon, "image", "show", "frozen").exit_code == 3,
        what="end of the image",
        limit_s=120,
        every_s=0.5,
    )


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
