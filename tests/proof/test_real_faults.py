"""Faults of real hosts under a running daemon: what it then says of a sandbox, and why.

One pair of hosts and one daemon for the module. A test takes the guest it needs, breaks one thing
on a host, reads state, reason and event as a user would, mends it, and sees the sandbox usable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scheduler.cli.failures import Failure
from tests.fleet.fleet import Fleet
from tests.fleet.host import IMAGES
from tests.fleet.process import wait_until
from tests.proof.daemon import running
from tests.proof.test_main_job import IN_BACKGROUND, LATER, Foreign, Story, configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fleet.host import Host
    from tests.proof.daemon import Daemon, Document

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]

STORAGE_MB = 160
SMALL_POOL = "512m"
FILLER = f"{IMAGES}/filler"
ALL_BUT_4_MIB = 'fallocate -l "$(($(stat -f -c "%a * %S" "$1") - 4194304))" "$1/filler"'
WRITE_20_MIB = "dd if=/dev/urandom of=/dev/vda bs=1M seek=130 count=20 conv=fsync"


class Bench:
    """Two hosts, h1 with a small pool, and a daemon over them."""

    def __init__(self, fleet: Fleet, daemon: Daemon) -> None:
        self.fleet = fleet
        self.daemon = daemon
        self.story = Story(fleet, daemon)

    def create(self, name: str, host: str | None = None, **fields: object) -> Document:
        """Ask for a sandbox on this host, or on any."""
        return self.story.create(name, host=host, storage_mb=STORAGE_MB, **fields)

    def stopped(self, name: str, host: str, **fields: object) -> Document:
        """Make a sandbox that is built and not started."""
        self.create(name, host, auto_start=False, **fields)
        return self.daemon.wait_for(name, state="STOPPED")

    def running(self, name: str, host: str) -> Document:
        """Return the guest of this name that runs on the host; made unless it is there."""
        if not any(box["sandbox_name"] == name for box in self.daemon.api.items("/v1/sandboxes")):
            self.create(name, host)
        return self.daemon.wait_for(name, state="RUNNING")

    def ask(self, name: str, wish: str) -> None:
        self.daemon.api.post(f"/v1/sandboxes/{name}/{wish}")

    def destroy(self, name: str) -> None:
        """Destroy the sandbox, and wait until nothing of it is left."""
        box = self.daemon.sandbox(name)
        self.daemon.api.delete(f"/v1/sandboxes/{box['id']}")
        self.daemon.wait_for(box["id"], state="DESTROYED")

    def refusal(self, host: str) -> str:
        """Return why nothing can be placed on the host now; empty when something can."""
        wanted = {"base_image": "small.qcow2", "agent_id": "proof", "host": host}
        sizes = {"vcpus": 1, "memory_mb": 128, "storage_mb": STORAGE_MB}
        try:
            self.daemon.api.post("/v1/sandboxes?dry_run=true", {**wanted, **sizes})
        except Failure as failure:
            return str(failure)
        return ""

    def wait_until_refused(self, host: str, why: str) -> None:
        wait_until(lambda: why in self.refusal(host), what=f"{host} refused: {why}", every_s=0.2)

    def wait_until_placed(self, host: str) -> None:
        wait_until(lambda: not self.refusal(host), what=f"room on {host}", every_s=0.2)

    def wait_for_condition(self, name: str, kind: str) -> str:
        """Wait until the sandbox has the condition, and return its message."""
        wait_until(lambda: kind in self.conditions(name), what=f"{name} {kind}", every_s=0.2)
        return self.conditions(name)[kind]

    def conditions(self, name: str) -> dict[str, str]:
        found = self.daemon.sandbox(name)["conditions"]
        return {condition["kind"]: condition["message"] for condition in found}

    def wait_for_finding(self, code: str, sandbox_id: str) -> None:
        """Wait until an audit tells this of the sandbox."""

        def found() -> bool:
            findings = self.daemon.api.get("/v1/audit")["findings"]
            return (code, sandbox_id) in {(one["code"], one["sandbox_id"]) for one in findings}

        wait_until(found, what=f"{code} of {sandbox_id}", every_s=0.5)

    def health_changes(self, host: str) -> int:
        """Return how often the host's health changed since the daemon began."""
        events = self.daemon.api.get("/v1/events", host=host, kind="host.health", limit=1000)
        return len(events["items"])

    def assert_told(self, name: str, state: str, reason_code: str) -> None:
        """Prove that the journal has the change, with its reason."""
        box = self.daemon.sandbox(name)
        events = self.daemon.api.get("/v1/events", sandbox_id=box["id"], limit=1000)["items"]
        told = {(str(event["evidence"].get("to")), event["reason_code"]) for event in events}
        assert (state, reason_code) in told, events


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Fleet.make(2) as fleet:
        give_a_small_pool(fleet["h1"])
        with running(tmp_path_factory.mktemp("faults"), settings(fleet)) as daemon:
            bench = Bench(fleet, daemon)
            bench.story.hosts_come_up()
            yield bench


def settings(fleet: Fleet) -> str:
    return configuration(fleet).replace("[lifecycle]", "[lifecycle]\nshutdown_seconds = 5")


def give_a_small_pool(host: Host) -> None:
    """Lay a small filesystem over the pool's directory, with the image in it."""
    host.run("cp", f"{IMAGES}/small.qcow2", "/tmp")
    host.run("mount", "-t", "tmpfs", "-o", f"size={SMALL_POOL}", "pool", IMAGES)
    host.run("mv", "/tmp/small.qcow2", IMAGES)
    host.virsh("pool-refresh", "default")


def test_a_full_pool_pauses_the_guest_and_room_alone_lets_it_go_on(bench: Bench) -> None:
    host = bench.fleet["h1"]
    box = bench.running("writer", host.name)
    host.run("sh", "-c", ALL_BUT_4_MIB, "-", IMAGES)
    host.virsh("pool-refresh", "default")
    bench.wait_until_refused(host.name, "storage")
    # Once this session is over, which would end with the guest standing still.
    bench.story.in_guest(host, box["ip_address"], f"({LATER}; {WRITE_20_MIB}) {IN_BACKGROUND}")
    full = bench.daemon.wait_for("writer", state="ERROR", reason_code="storage_full")
    assert host.virsh("domstate", "--reason", "writer").strip() == "paused (I/O error)"
    assert "once there is room again" in full["reason_message"]
    bench.assert_told("writer", "ERROR", "storage_full")
    host.run("rm", FILLER)
    bench.daemon.wait_for(
        "writer", state="RUNNING", reason_code="resumed", ip_address=box["ip_address"]
    )
    bench.assert_told("writer", "RUNNING", "resumed")
    bench.wait_until_placed(host.name)
    bench.story.is_usable("writer")


@pytest.mark.slow
def test_a_frozen_qemu_costs_nobody_else_and_is_stopped_by_force(bench: Bench) -> None:
    host = bench.fleet["h1"]
    bench.running("writer", host.name)
    changes = bench.health_changes(host.name)
    host.suspend_guest("writer")
    bench.ask("writer", "stop")
    bench.stopped("neighbour", host.name)
    bench.destroy("neighbour")
    bench.daemon.wait_for("writer", state="STOPPED", reason_code="stopped")
    assert bench.health_changes(host.name) == changes
    bench.assert_told("writer", "STOPPED", "stopped")
    assert host.virsh("domstate", "writer").strip() == "shut off"
    bench.destroy("writer")


def test_a_stopped_pool_places_nothing_and_is_started_by_who_needs_it(bench: Bench) -> None:
    host = bench.fleet["h2"]
    bench.running("runner", host.name)
    bench.stopped("pooled", host.name)
    host.virsh("pool-destroy", "default")
    bench.wait_until_refused(host.name, "pool default")
    assert bench.daemon.sandbox("runner")["state"] == "RUNNING"
    host.run("mv", IMAGES, f"{IMAGES}.away")
    bench.ask("pooled", "start")
    failed = bench.daemon.wait_for("pooled", state="ERROR", reason_code="start_failed")
    assert "pool" in failed["reason_message"]
    bench.assert_told("pooled", "ERROR", "start_failed")
    host.run("mv", f"{IMAGES}.away", IMAGES)
    bench.destroy("pooled")
    bench.wait_until_placed(host.name)
    assert bench.daemon.sandbox("runner")["state"] == "RUNNING"


def test_a_replaced_base_volume_is_never_started_on(bench: Bench) -> None:
    host = bench.fleet["h2"]
    image, kept = f"{IMAGES}/other.qcow2", f"{IMAGES}/other.kept"
    host.run("cp", f"{IMAGES}/small.qcow2", image)
    host.virsh("pool-refresh", "default")
    wait_until(
        lambda: "other.qcow2" in bench.daemon.host(host.name)["observed_images"],
        what="the second image",
        every_s=0.2,
    )
    bench.stopped("based", host.name, base_image="other.qcow2")
    host.run("mv", image, kept)
    host.run("cp", kept, image)
    bench.ask("based", "start")
    failed = bench.daemon.wait_for("based", state="ERROR", reason_code="start_failed")
    assert "base volume other.qcow2 was changed" in failed["reason_message"]
    bench.assert_told("based", "ERROR", "start_failed")
    assert host.virsh("domstate", "based").strip() == "shut off"
    host.run("mv", kept, image)
    bench.ask("based", "retry")
    wait_until(lambda: host.virsh("domstate", "based").strip() == "running", what="its start")
    bench.destroy("based")
    host.run("rm", image)


def test_a_missing_network_fails_the_start_and_places_nothing(bench: Bench) -> None:
    host = bench.fleet["h2"]
    bench.stopped("wired", host.name)
    definition = "/run/network.xml"
    host.file(definition).write_text(host.virsh("net-dumpxml", "--inactive", "default"))
    host.virsh("net-destroy", "default")
    host.virsh("net-undefine", "default")
    bench.wait_until_refused(host.name, "network default")
    bench.ask("wired", "start")
    failed = bench.daemon.wait_for("wired", state="ERROR", reason_code="start_failed")
    assert "network" in failed["reason_message"]
    bench.assert_told("wired", "ERROR", "start_failed")
    host.virsh("net-define", definition)
    host.virsh("net-autostart", "default")
    host.virsh("net-start", "default")
    bench.wait_until_placed(host.name)
    bench.ask("wired", "retry")
    wait_until(lambda: host.virsh("domstate", "wired").strip() == "running", what="its start")
    bench.destroy("wired")


def test_libvirtd_killed_in_a_define_builds_the_domain_once(bench: Bench) -> None:
    host = bench.fleet["h2"]
    definition = host.file("/etc/libvirt/qemu/defined.xml.new")
    # libvirtd writes a definition there first, and waits for a reader of this one for ever.
    host.run("mkfifo", "/etc/libvirt/qemu/defined.xml.new")
    try:
        bench.create("defined", host.name, auto_start=False)
        wait_until(lambda: waits_in_define(host), what="a define that waits", every_s=0.1)
    finally:
        host.stop_libvirtd("KILL")
        definition.unlink()
        host.start_libvirtd()
    built = bench.daemon.wait_for("defined", state="STOPPED", reason_code="stopped")
    assert host.virsh("domuuid", "defined").strip() == built["domain_uuid"]
    assert bench.conditions("defined") == {}
    bench.assert_told("defined", "STOPPED", "stopped")
    bench.destroy("defined")


def waits_in_define(host: Host) -> bool:
    """Return whether a thread of libvirtd waits to open a pipe."""
    pid = host.file("/run/libvirtd.pid").read_text().strip()
    # A thread that ended since the list was made is no reason to stop looking.
    waits = host.run("sh", "-c", 'cat /proc/"$1"/task/*/wchan 2>/dev/null || :', "-", pid)
    return "wait_for_partner" in waits or "fifo_open" in waits


def test_a_foreign_domain_with_the_name_of_ours_is_left_alone(bench: Bench) -> None:
    host = bench.fleet["h1"]
    foreign = Foreign.plant(host)
    host.virsh("domrename", "sbx-not-ours", "wanted")
    bench.create("wanted", host.name, auto_start=False)
    failed = bench.daemon.wait_for("wanted", state="ERROR", reason_code="build_failed")
    assert "'wanted' already exists" in failed["reason_message"]
    bench.assert_told("wanted", "ERROR", "build_failed")
    bench.destroy("wanted")
    host.virsh("domrename", "wanted", "sbx-not-ours")
    ours = bench.stopped("wanted", host.name)
    host.virsh("domrename", "wanted", "was-wanted")
    host.virsh("domrename", "sbx-not-ours", "wanted")
    bench.wait_for_finding("domain_renamed", ours["id"])
    assert bench.daemon.sandbox("wanted")["state"] == "STOPPED"
    bench.destroy("wanted")
    assert host.virsh("list", "--all", "--name").split().count("wanted") == 1
    host.virsh("domrename", "wanted", "sbx-not-ours")
    foreign.assert_untouched()


def test_a_power_cycle_ends_in_an_error_that_says_so(bench: Bench) -> None:
    host = bench.fleet["h2"]
    bench.running("runner", host.name)
    host.power_off()
    message = bench.wait_for_condition("runner", "host_unreachable")
    assert host.name in message
    assert bench.daemon.sandbox("runner")["state"] == "RUNNING"
    host.power_on()
    bench.daemon.wait_for("runner", state="ERROR", reason_code="host_restarted", ip_address=None)
    assert bench.conditions("runner") == {}
    bench.assert_told("runner", "ERROR", "host_restarted")
    bench.ask("runner", "retry")
    bench.daemon.wait_for("runner", state="RUNNING", reason_code="running")
    bench.destroy("runner")
