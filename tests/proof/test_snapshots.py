"""Snapshots for real: booted guests, their disks and memory, brought back through the daemon.

One test a kind and one with a full pool, because each step starts from what the ones before it
left; all end by proving that the pool holds nothing of ours.
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
from tests.proof.test_real_faults import give_a_small_pool

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(1200)]

GUEST = {"agent_id": "proof", "vcpus": 1, "memory_mb": 128, "storage_mb": 160}
NOTE = "/root/note"
COUNT = "/run/count"
COUNTER = f"i=0; while :; do i=$((i+1)); echo $i >{COUNT}; sleep 0.2; done"
"""What is only in memory: a variable of a shell, and a file of a file system in memory."""
START_COUNTER = f"({COUNTER}) </dev/null >/dev/null 2>&1 & echo $! >/run/counter"
BOOT = "cat /proc/sys/kernel/random/boot_id"
NO_ROOM = {"INTERNAL": "Error while writing VM state", "EXTERNAL": "No space left"}
"""What QEMU says of a full pool."""
FILLER = f"{IMAGES}/filler"
FILL = 'dd if=/dev/zero of="$1" bs=1M 2>/dev/null; stat -c %s "$1"'


@dataclass(frozen=True)
class Bench:
    """One sandbox on one host, a daemon over it, and what a user can ask of both."""

    fleet: Fleet
    daemon: Daemon
    host: Host
    name: str

    def create(self) -> None:
        body = {**GUEST, "sandbox_name": self.name, "base_image": "small.qcow2"}
        keys = [self.fleet.access.public_key]
        self.daemon.api.post(
            "/v1/sandboxes", {**body, "host": self.host.name, "ssh_public_keys": keys}
        )
        self.until_usable()

    def until_usable(self) -> None:
        self.daemon.wait_for(self.name, state="RUNNING")
        wait_until(lambda: self.said("true") is not None, what=self.name, limit_s=180, every_s=0.5)

    def said(self, script: str) -> str | None:
        """Run a script in the guest and return what it printed; None when it does not answer."""
        address = self.daemon.sandbox(self.name)["ip_address"]
        if address is None:
            return None
        argv = [*self.fleet.access.guest_argv(self.host.address, address), script]
        try:
            ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return None
        return ran.stdout.strip() if ran.returncode == 0 else None

    def sh(self, script: str) -> str:
        """Run a script that must succeed in the guest."""
        said = self.said(script)
        assert said is not None, script
        return said

    def path(self, name: str = "") -> str:
        return f"/v1/sandboxes/{self.name}/snapshots" + (f"/{name}" if name else "")

    def snapshots(self) -> dict[str, Document]:
        return {one["name"]: dict(one) for one in self.daemon.api.get(self.path())["items"]}

    def at_rest(self, name: str) -> Document | None:
        """Wait until nothing is to be done for a snapshot, and return it if it is still there."""

        def rests() -> bool:
            one = self.snapshots().get(name)
            return one is None or one["state"] in ("READY", "FAILED")

        wait_until(rests, what=f"{name} at rest", limit_s=240, every_s=0.3)
        return self.snapshots().get(name)

    def make(self, name: str, kind: str) -> Document:
        self.daemon.api.post(self.path(), {"name": name, "kind": kind})
        made = self.at_rest(name)
        assert made is not None
        return made

    def made(self, name: str, kind: str) -> Document:
        snapshot = self.make(name, kind)
        assert (snapshot["state"], snapshot["reason"]) == ("READY", None), snapshot
        return snapshot

    def revert(self, name: str) -> None:
        self.daemon.api.post(f"{self.path(name)}/revert")
        back = self.at_rest(name)
        assert back is not None
        assert (back["state"], back["reason"], back["current"]) == ("READY", None, True), back
        self.until_usable()

    def delete(self, name: str) -> None:
        self.daemon.api.delete(self.path(name))
        left = self.at_rest(name)
        assert left is None, left

    def counts_on(self) -> None:
        before = int(self.sh(f"cat {COUNT}"))
        wait_until(lambda: int(self.sh(f"cat {COUNT}")) > before, what="a memory that goes on")

    def files(self) -> set[str]:
        """Return the names of the sandbox's layers on its host."""
        stem = self.daemon.sandbox(self.name)["id"].lower()
        found = self.host.file(IMAGES).glob(f"{stem}*.qcow2")
        return {path.name for path in found}

    def kept_by_libvirt(self) -> int:
        return len(self.host.virsh("snapshot-list", "--name", self.name).split())

    def refused(self, name: str, kind: str) -> str:
        with pytest.raises(Failure) as refusal:
            self.daemon.api.post(self.path(), {"name": name, "kind": kind})
        return str(refusal.value)

    def wish(self, wish: str, state: str) -> None:
        self.daemon.api.post(f"/v1/sandboxes/{self.name}/{wish}")
        self.daemon.wait_for(self.name, state=state)

    def host_is_up(self) -> None:
        wait_until(
            lambda: self.daemon.host(self.host.name)["health"] == "UP",
            what=self.host.name,
            limit_s=120,
            every_s=0.2,
        )

    def host_loses_power(self) -> None:
        """Pull the plug: guest and libvirtd are dead; then boot the host from its files."""
        self.host.power_cycle()
        self.host_is_up()
        self.daemon.wait_for(self.name, state="ERROR")
        assert self.host.virsh("domstate", self.name).strip() == "shut off"

    def audit_is_clean(self) -> None:
        audit = self.daemon.api.get("/v1/audit", wait="20s")
        assert (audit["findings"], audit["orphans"]) == ([], []), audit

    def destroy(self) -> None:
        id = self.daemon.sandbox(self.name)["id"]
        self.daemon.api.delete(f"/v1/sandboxes/{id}")
        self.daemon.wait_for(id, state="DESTROYED")
        assert not list(self.host.file(IMAGES).glob(f"{id.lower()}*"))
        assert self.name not in self.host.virsh("list", "--all", "--name").split()
        assert self.daemon.host(self.host.name)["reserved_storage_mb"] == 0
        self.audit_is_clean()


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Bench]]:
    """A guest's bench on each of two hosts; the second has a pool that is easily filled."""
    with Fleet.make(2) as fleet:
        give_a_small_pool(fleet["h2"])
        # Promises beyond the pool: that it fills up is what is tried.
        settings = configuration(fleet) + "\nratio_storage = 8\n"
        with running(tmp_path_factory.mktemp("snapshots"), settings) as daemon:
            made = {
                host.name: Bench(fleet, daemon, host, name)
                for host, name in zip(fleet, ("near", "far"), strict=True)
            }
            for bench in made.values():
                bench.host_is_up()
            yield made


def test_memory_and_disk_are_brought_back_together(benches: dict[str, Bench]) -> None:
    bench = benches["h1"]
    bench.create()
    bench.sh(f"echo old >{NOTE}; sync; {START_COUNTER}")
    boot = bench.sh(BOOT)
    bench.counts_on()
    first = bench.made("first", "INTERNAL")
    assert (first["memory"], first["files"]) == (True, sorted(bench.files()))
    bench.sh(f"echo new >{NOTE}; touch /run/since; kill $(cat /run/counter); sync; rm {COUNT}")
    assert "another kind" in bench.refused("other", "EXTERNAL")
    assert "already" in bench.refused("first", "INTERNAL")
    bench.audit_is_clean()
    bench.revert("first")
    assert bench.sh(f"cat {NOTE}; ls /run/since 2>/dev/null || echo none") == "old\nnone"
    assert bench.sh(BOOT) == boot
    bench.counts_on()
    for name in ("second", "third", "fourth", "fifth"):
        bench.sh(f"echo {name} >{NOTE}; sync")
        assert bench.made(name, "INTERNAL")["parent"] is not None
    bench.daemon.kill()
    bench.host.restart_libvirtd()
    bench.daemon.start()
    bench.host_is_up()
    bench.until_usable()
    bench.revert("third")
    assert bench.sh(f"cat {NOTE}") == "third"
    bench.host_loses_power()
    bench.audit_is_clean()
    bench.revert("fourth")
    assert (bench.sh(f"cat {NOTE}"), bench.sh(BOOT)) == ("fourth", boot)
    bench.counts_on()
    for name in ("third", "first"):
        bench.delete(name)
    assert bench.kept_by_libvirt() == 3
    bench.audit_is_clean()
    bench.wish("stop", "STOPPED")
    bench.delete("fifth")
    off = bench.made("off", "INTERNAL")
    assert off["memory"] is False
    bench.revert("second")
    assert (bench.sh(f"cat {NOTE}"), bench.sh(BOOT)) == ("second", boot)
    bench.counts_on()
    assert bench.kept_by_libvirt() == 3
    bench.destroy()


def test_a_disk_five_layers_deep(benches: dict[str, Bench]) -> None:
    bench = benches["h1"]
    bench.create()
    for number in range(5):
        bench.sh(f"echo {number} >/root/only-{number}; echo {number} >{NOTE}; sync")
        live = bench.files()
        made = bench.made(f"s{number}", "EXTERNAL")
        assert (made["ref"] in live, made["memory"]) == (True, False)
        assert len(made["files"]) == number + 1
    assert "another kind" in bench.refused("other", "INTERNAL")
    assert "already" in bench.refused("s0", "EXTERNAL")
    bench.sh(f"echo live >{NOTE}; sync")
    assert len(bench.files()) == 6
    bench.audit_is_clean()
    boot = bench.sh(BOOT)
    for number in (2, 4, 0):
        bench.delete(f"s{number}")
        bench.audit_is_clean()
    assert len(bench.files()) == 3
    assert bench.sh(f"cat {NOTE} /root/only-4; {BOOT}") == f"live\n4\n{boot}"
    bench.revert("s1")
    assert bench.sh(f"cat {NOTE} /root/only-0") == "1\n0"
    assert bench.said("ls /root/only-2") is None
    assert bench.sh(BOOT) != boot
    bench.revert("s3")
    assert bench.sh(f"cat {NOTE} /root/only-2") == "3\n2"
    bench.host.restart_libvirtd()
    bench.host_is_up()
    bench.revert("s1")
    assert bench.sh(f"cat {NOTE}") == "1"
    bench.host_loses_power()
    bench.revert("s3")
    assert bench.sh(f"cat {NOTE} /root/only-2") == "3\n2"
    bench.audit_is_clean()
    bench.wish("stop", "STOPPED")
    bench.delete("s1")
    assert bench.daemon.sandbox("near")["state"] == "STOPPED"
    bench.made("off", "EXTERNAL")
    bench.delete("s3")
    bench.wish("start", "RUNNING")
    bench.until_usable()
    assert bench.sh(f"cat {NOTE} /root/only-1") == "3\n1"
    assert len(bench.files()) == 2
    bench.audit_is_clean()
    bench.destroy()


@pytest.mark.parametrize("kind", NO_ROOM)
def test_a_full_pool_costs_the_snapshot_and_nothing_else(
    benches: dict[str, Bench], kind: str
) -> None:
    bench = benches["h2"]
    bench.create()
    bench.sh(f"echo old >{NOTE}; sync")
    bench.made("kept", kind)
    boot = bench.sh(BOOT)
    assert int(bench.host.run("sh", "-c", FILL, "-", FILLER, limit_s=120)) > 0
    failed = bench.make("full", kind)
    assert failed["state"] == "FAILED", failed
    assert NO_ROOM[kind] in failed["reason"], failed
    assert (failed["files"], failed["claim_mb"]) == ([], 0)
    bench.host.run("rm", FILLER)
    bench.host.virsh("pool-refresh", "default")
    bench.until_usable()
    assert bench.sh(f"cat {NOTE}; {BOOT}") == f"old\n{boot}"
    bench.audit_is_clean()
    bench.delete("full")
    bench.sh(f"echo new >{NOTE}; sync")
    bench.made("again", kind)
    bench.revert("kept")
    assert bench.sh(f"cat {NOTE}") == "old"
    bench.audit_is_clean()
    bench.destroy()
