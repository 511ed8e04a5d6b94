"""The main job, whole and for real: two libvirt hosts over ssh, QEMU guests, one daemon.

One test, because each step starts from what the ones before it left; it ends by proving that
nothing is left anywhere and that what was not ours was never touched.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import Fleet
from tests.fleet.process import ProcessError, run, wait_until
from tests.fleet.tour import host_settings
from tests.proof.daemon import Daemon, Document, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fleet.host import Host

FOREIGN_XML = """
<domain type='qemu'><name>sbx-not-ours</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>
"""
GUEST = {"vcpus": 1, "memory_mb": 128, "storage_mb": 256}
LATER = "sleep 3"
IN_BACKGROUND = "</dev/null >/dev/null 2>&1 &"


def configuration(fleet: Fleet) -> str:
    lines = ["[daemon]", 'log_level = "debug"', "[lifecycle]", "poll_seconds = 2", "[metrics]"]
    lines += ['listen = "127.0.0.1:0"']
    for host in fleet:
        lines += host_settings(host, fleet.access)
    return "\n".join(lines)


@dataclass(frozen=True)
class Foreign:
    """What somebody else keeps on a host; it must look the same at the end."""

    host: Host
    domain: str
    volume: str

    @classmethod
    def plant(cls, host: Host) -> Foreign:
        path = "/var/lib/libvirt/images/foreign.xml"
        host.file(path).write_text(FOREIGN_XML)
        host.virsh("define", path)
        host.file(path).unlink()
        host.virsh("vol-create-as", "default", "sbx-precious.img", "1M", "--format", "raw")
        return cls(host=host, domain=cls._domain(host), volume=cls._volume(host))

    def assert_untouched(self) -> None:
        assert self._domain(self.host) == self.domain
        assert self._volume(self.host) == self.volume

    @staticmethod
    def _domain(host: Host) -> str:
        return host.virsh("dumpxml", "--inactive", "sbx-not-ours")

    @staticmethod
    def _volume(host: Host) -> str:
        return host.run("stat", "-c", "%i %s %Y", "/var/lib/libvirt/images/sbx-precious.img")


class Story:
    """The steps of the proof, in the words of the issue."""

    def __init__(self, fleet: Fleet, daemon: Daemon) -> None:
        self.fleet = fleet
        self.daemon = daemon

    def hosts_come_up(self) -> None:
        for host in self.fleet:
            wait_until(
                lambda name=host.name: self.daemon.host(name)["health"] == "UP",  # type: ignore[misc]
                what=f"{host.name} UP",
                limit_s=180,
                every_s=0.2,
            )

    def create(self, name: str, **fields: object) -> Document:
        body: Document = {"base_image": "small.qcow2", "agent_id": "proof", "sandbox_name": name}
        body |= GUEST | {"ssh_public_keys": [self.fleet.access.public_key]} | fields
        created: Document = self.daemon.api.post("/v1/sandboxes", body)
        return created

    def is_usable(self, name: str) -> None:
        """RUNNING with the address virsh tells, and sshd answering in the guest."""
        sandbox = self.daemon.wait_for(name, state="RUNNING")
        host = self.fleet[sandbox["host_name"]]
        address = sandbox["ip_address"]
        assert f" {address}/" in host.virsh("domifaddr", name, "--source", "lease")
        assert self.in_guest(host, address, "hostname").strip() == name

    def in_guest(self, host: Host, address: str, command: str) -> str:
        argv = [*self.fleet.access.guest_argv(host.address, address), command]
        said: list[str] = []
        failed: list[str] = []

        def answers() -> bool:
            try:
                said.append(run(*argv, limit_s=60))
            except (ProcessError, subprocess.TimeoutExpired) as error:
                failed.append(str(error))
                return False
            return True

        try:
            wait_until(answers, what=f"ssh to {address}", limit_s=240, every_s=0.5)
        except TimeoutError as error:
            error.add_note(f"{len(failed)} attempts, the last: {failed[-1]}")
            error.add_note(host.virsh("net-dhcp-leases", "--network", "default"))
            raise
        return said[-1]

    def reservations_equal_what_runs(self) -> None:
        """The ledger, summed, is what libvirt was given, with the stated overhead."""
        for host in self.fleet:
            record = self.daemon.host(host.name)
            ours = [n for n in host.virsh("list", "--name").split() if n != "sbx-not-ours"]
            memory = sum(_memory_mb(host, name) + _overhead_mb(1, 128) for name in ours)
            assert record["reserved_cpus"] == len(ours)
            assert record["reserved_memory_mb"] == memory
            assert record["reserved_storage_mb"] == 256 * len(ours)

    def shuts_itself_down(self, name: str) -> None:
        sandbox = self.daemon.sandbox(name)
        host = self.fleet[sandbox["host_name"]]
        # Once this session is over: one that it breaks would be taken for a guest without an sshd.
        self.in_guest(host, sandbox["ip_address"], f"({LATER}; poweroff) {IN_BACKGROUND}")
        stopped = self.daemon.wait_for(name, state="STOPPED", reason_code="guest_shutdown")
        assert stopped["desired_state"] == "STOPPED"
        assert stopped["ip_address"] is None

    def is_killed(self, name: str) -> None:
        host = self.fleet[self.daemon.sandbox(name)["host_name"]]
        host.virsh("destroy", name)
        self.daemon.wait_for(name, state="ERROR", reason_code="domain_killed")
        self.daemon.api.post(f"/v1/sandboxes/{name}/retry")
        self.is_usable(name)

    def is_paused(self, name: str) -> None:
        host = self.fleet[self.daemon.sandbox(name)["host_name"]]
        host.virsh("suspend", name)
        wait_until(lambda: "paused" in self._conditions(name), what="paused", every_s=0.2)
        assert self.daemon.sandbox(name)["state"] == "RUNNING"
        host.virsh("resume", name)
        wait_until(lambda: self._conditions(name) == set(), what="resumed", every_s=0.2)

    def libvirtd_restarts_under(self, name: str) -> None:
        before = self.daemon.sandbox(name)
        host = self.fleet[before["host_name"]]
        host.restart_libvirtd()
        wait_until(
            lambda: self.daemon.host(host.name)["health"] == "UP", what="UP again", every_s=0.2
        )
        after = self.daemon.sandbox(name)
        assert (after["state"], after["ip_address"]) == ("RUNNING", before["ip_address"])

    def survives_sigkill_while_building(self, name: str) -> None:
        self.create(name)
        self.daemon.kill()
        self.daemon.start()
        self.is_usable(name)
        host = self.fleet[self.daemon.sandbox(name)["host_name"]]
        assert host.virsh("list", "--all", "--name").split().count(name) == 1

    def expires(self, name: str) -> None:
        created = self.create(name, ttl_seconds=3)
        gone = self.daemon.wait_for(created["id"], state="DESTROYED")
        events = self.daemon.api.get("/v1/events", sandbox_id=gone["id"], limit=1000)["items"]
        assert "lease_expired" in {event["reason_code"] for event in events}

    def host_is_drained(self, host: Host) -> None:
        self.daemon.api.post(
            f"/v1/hosts/{host.name}/drain", {"policy": "destroy", "reason": "the proof"}
        )
        self.daemon.kill()
        self.daemon.start()
        wait_until(
            lambda: self.daemon.host(host.name)["state"] == "DRAINED",
            what="drained",
            limit_s=180,
            every_s=0.2,
        )
        assert host.virsh("list", "--all", "--name").split() == ["sbx-not-ours"]

    def all_are_destroyed(self) -> None:
        for sandbox in self.daemon.api.items("/v1/sandboxes"):
            self.daemon.api.delete(f"/v1/sandboxes/{sandbox['id']}")
        wait_until(
            lambda: not list(self.daemon.api.items("/v1/sandboxes")),
            what="all destroyed",
            limit_s=180,
            every_s=0.2,
        )

    def nothing_is_left(self) -> None:
        for host in self.fleet:
            assert host.virsh("list", "--all", "--name").split() == ["sbx-not-ours"]
            volumes = {line.split()[0] for line in host.virsh("vol-list", "default").splitlines()}
            assert volumes == {"small.qcow2", "sbx-precious.img"}
            record = self.daemon.host(host.name)
            reserved = {key: value for key, value in record.items() if key.startswith("reserved_")}
            assert set(reserved.values()) == {0}, json.dumps(reserved)

    def _conditions(self, name: str) -> set[str]:
        return {condition["kind"] for condition in self.daemon.sandbox(name)["conditions"]}


def _memory_mb(host: Host, name: str) -> int:
    facts = dict(
        line.split(":", 1) for line in host.virsh("dominfo", name).splitlines() if ":" in line
    )
    return int(facts["Max memory"].split()[0]) // 1024


def _overhead_mb(vcpus: int, memory_mb: int) -> int:
    return 128 + 16 * vcpus + memory_mb // 64


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet.make(2) as made:
        yield made


@pytest.mark.fleet
@pytest.mark.timeout(900)
def test_the_main_job_on_two_real_hosts(fleet: Fleet, tmp_path: Path) -> None:
    foreign = [Foreign.plant(host) for host in fleet]
    with running(tmp_path, configuration(fleet)) as daemon:
        story = Story(fleet, daemon)
        story.hosts_come_up()
        names = ["proof-a", "proof-b", "proof-c", "proof-d"]
        for name in names:
            story.create(name)
        for name in names:
            story.is_usable(name)
        assert {daemon.sandbox(name)["host_name"] for name in names} == {"h1", "h2"}
        story.reservations_equal_what_runs()
        story.shuts_itself_down("proof-a")
        story.is_killed("proof-b")
        story.is_paused("proof-c")
        story.libvirtd_restarts_under("proof-d")
        story.survives_sigkill_while_building("proof-e")
        story.expires("proof-f")
        story.host_is_drained(fleet["h1"])
        story.all_are_destroyed()
        story.nothing_is_left()
        assert daemon.stop() == 0
    for thing in foreign:
        thing.assert_untouched()
