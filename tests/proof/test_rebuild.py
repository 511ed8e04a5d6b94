"""Losing the database loses no sandbox: the marks on the hosts bring every record back.

Once on libvirt's test driver, in seconds and killed in the middle; once on real hosts with guests
that run on through it all.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from scheduler.cli.failures import Failure
from tests.fleet.process import run, wait_until
from tests.proof.daemon import Daemon, Document, running
from tests.proof.test_main_job import GUEST, Foreign, configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.fleet.farm import FarmHost, LibvirtdFarm
    from tests.fleet.fleet import Fleet

CTL = (sys.executable, "-c", "from scheduler.cli.main import main; main()")
ROOT = Path(__file__).parents[2]
SAME = ("id", "sandbox_name", "host_name", "ip_address", "mac", "domain_uuid", "labels")
"""What a sandbox's owner knows it by, and how it is reached."""


class Machine(Protocol):
    """A host of either kind, as far as these proofs look at it."""

    @property
    def name(self) -> str: ...

    def virsh(self, *arguments: str) -> str: ...


@dataclass(frozen=True)
class FarmMachine:
    """A libvirtd with the test driver, with an image, a roomy network and a stranger's domain."""

    host: FarmHost

    @property
    def name(self) -> str:
        return self.host.name

    def virsh(self, *arguments: str) -> str:
        return run("virsh", "-q", "-c", self.host.uri, *arguments)

    def furnish(self, directory: Path) -> FarmMachine:
        """Make it an ordinary host; its own guest is larger than the machine says it is."""
        self.virsh("destroy", "test")
        self.virsh("undefine", "test")
        self.virsh("vol-create-as", "default-pool", "small.qcow2", "64M", "--format", "qcow2")
        network = directory / "network.xml"
        network.write_text(
            "<network><name>default</name><ip address='10.0.0.1' netmask='255.0.0.0'>"
            "<dhcp><range start='10.0.0.2' end='10.0.255.254'/></dhcp></ip></network>"
        )
        self.virsh("net-destroy", "default")
        self.virsh("net-undefine", "default")
        self.virsh(f"net-define {network}; net-start default")
        foreign = directory / "foreign.xml"
        foreign.write_text(
            "<domain type='test'><name>sbx-not-ours</name><memory unit='MiB'>64</memory>"
            "<vcpu>1</vcpu><os><type>hvm</type></os></domain>"
        )
        self.virsh("define", str(foreign))
        return self


@dataclass
class Disaster:
    """A daemon whose database is lost, and the hosts that remember."""

    daemon: Daemon
    machines: Sequence[Machine]
    pool: str

    def ctl(self, *arguments: str, code: int = 0) -> str:
        """Run sandboxctl as an operator does; its exit code is part of what is proven."""
        argv = [*CTL, "--socket", str(self.daemon.socket), *arguments]
        ended = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=180, cwd=ROOT
        )
        assert ended.returncode == code, f"{arguments}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def hosts_come_up(self) -> None:
        for machine in self.machines:
            wait_until(
                lambda name=machine.name: self.daemon.host(name)["health"] == "UP",  # type: ignore[misc]
                what=f"{machine.name} UP",
                limit_s=120,
                every_s=0.2,
            )

    def create(self, *names: str, **fields: object) -> dict[str, Document]:
        for name in names:
            body = {"base_image": "small.qcow2", "agent_id": "proof", "sandbox_name": name}
            self.daemon.api.post("/v1/sandboxes", {**body, **GUEST, **fields})
        return {name: self.daemon.wait_for(name, state="RUNNING") for name in names}

    def lose_the_database(self) -> None:
        """End the daemon, remove its database and nothing else, and start it again."""
        assert self.daemon.stop() == 0
        for file in self.daemon.state_dir.glob("sandboxd.db*"):
            file.unlink()
        self.daemon.start()
        self.hosts_come_up()

    def domains(self) -> dict[str, list[str]]:
        return {
            machine.name: sorted(machine.virsh("list", "--all", "--name").split())
            for machine in self.machines
        }

    def assert_orphaned(self, lost: dict[str, Document]) -> None:
        """The empty database knows nobody, reports everybody and touches nothing."""
        assert list(self.daemon.api.items("/v1/sandboxes")) == []
        report = json.loads(self.ctl("audit", "-o", "json", code=8))
        assert {orphan["sandbox_id"] for orphan in report["orphans"]} == {
            box["id"] for box in lost.values()
        }
        assert {orphan["code"] for orphan in report["orphans"]} == {"no_record"}

    def kill_in_the_middle_of_a_rebuild(self) -> int:
        """SIGKILL the daemon as soon as a rebuild has written something; return how much it had."""

        def ask() -> None:
            with suppress(Failure):
                self.daemon.api.post("/v1/rebuild?wait=10s")

        asking = threading.Thread(target=ask)
        asking.start()
        wait_until(lambda: self._recorded() > 0, what="a rebuild under way", every_s=0.001)
        self.daemon.kill()
        asking.join(60)
        return self._recorded()

    def _recorded(self) -> int:
        path = self.daemon.state_dir / "sandboxd.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
            found: int = database.execute("SELECT count(*) FROM sandboxes").fetchone()[0]
        return found

    def assert_back(self, lost: dict[str, Document]) -> None:
        """Everybody runs, is who they were and is reached where they were."""
        for name, before in lost.items():
            now = self.daemon.wait_for(name, state="RUNNING")
            assert {key: now[key] for key in SAME} == {key: before[key] for key in SAME}
        found = list(self.daemon.api.items("/v1/sandboxes"))
        assert len(found) == len(lost)
        ledger = [self.daemon.host(machine.name)["reserved_sandboxes"] for machine in self.machines]
        assert sum(ledger) == len(lost)

    def all_are_destroyed(self) -> None:
        names = [str(box["sandbox_name"]) for box in self.daemon.api.items("/v1/sandboxes")]
        self.ctl("delete", *names, "-y", "--timeout", "150s")
        for machine in self.machines:
            record = self.daemon.host(machine.name)
            reserved = {value for key, value in record.items() if key.startswith("reserved_")}
            assert reserved == {0}

    def volumes(self, machine: Machine) -> set[str]:
        lines = machine.virsh("vol-list", self.pool).splitlines()
        return {line.split()[0] for line in lines}


def farm_configuration(farm: LibvirtdFarm) -> str:
    lines = ["[lifecycle]", "poll_seconds = 1", "[metrics]", 'listen = "127.0.0.1:0"']
    for host in farm:
        lines += ["[[hosts]]", f'name = "{host.name}"', f'uri = "{host.uri}"']
        lines += ['transport = "unix"', 'pool = "default-pool"']
    return "\n".join(lines)


@pytest.mark.timeout(600)
def test_i9_a_lost_database_is_rebuilt_even_when_killed_in_the_middle(
    tmp_path: Path, make_farm: Callable[[int], LibvirtdFarm]
) -> None:
    farm = make_farm(2)
    machines = [FarmMachine(host).furnish(tmp_path) for host in farm]
    with running(tmp_path, farm_configuration(farm)) as daemon:
        disaster = Disaster(daemon=daemon, machines=machines, pool="default-pool")
        disaster.hosts_come_up()
        names = [f"box-{number}" for number in range(12)]
        lost = disaster.create(*names, storage_mb=64, ttl_seconds=7200, labels={"team": "a"})
        before = disaster.domains()
        assert all("sbx-not-ours" in domains for domains in before.values())

        disaster.lose_the_database()
        disaster.assert_orphaned(lost)
        planned = json.loads(disaster.ctl("rebuild", "--dry-run", "-o", "json"))
        assert len(planned["sandboxes"]) == len(lost)
        assert list(daemon.api.items("/v1/sandboxes")) == []

        assert disaster.kill_in_the_middle_of_a_rebuild() <= len(lost)
        daemon.start()
        disaster.hosts_come_up()
        disaster.ctl("rebuild", "--reason", "the disk died")
        disaster.assert_back(lost)
        assert disaster.ctl("rebuild", "-o", "name") == ""
        assert disaster.domains() == before
        disaster.ctl("audit")

        disaster.all_are_destroyed()
        disaster.ctl("audit")
        assert disaster.domains() == {machine.name: ["sbx-not-ours"] for machine in machines}
        for machine in machines:
            assert disaster.volumes(machine) == {"small.qcow2"}
        assert daemon.stop() == 0


@pytest.mark.fleet
@pytest.mark.timeout(900)
def test_real_guests_run_on_through_the_loss_of_the_database(
    make_fleet: Callable[[int], Fleet], tmp_path: Path
) -> None:
    fleet = make_fleet(2)
    foreign = [Foreign.plant(host) for host in fleet]
    with running(tmp_path, configuration(fleet)) as daemon:
        disaster = Disaster(daemon=daemon, machines=list(fleet), pool="default")
        disaster.hosts_come_up()
        lost = disaster.create(
            "one", "two", "three", ssh_public_keys=[fleet.access.public_key], ttl_seconds=7200
        )
        uptimes = {name: _booted(fleet, box) for name, box in lost.items()}

        disaster.lose_the_database()
        assert list(daemon.api.items("/v1/sandboxes")) == []
        disaster.ctl("rebuild", "--reason", "the disk died")
        disaster.assert_back(lost)
        for name, box in lost.items():
            assert _booted(fleet, box) == uptimes[name], "the guest never noticed"

        disaster.all_are_destroyed()
        for host in fleet:
            assert host.virsh("list", "--all", "--name").split() == ["sbx-not-ours"]
            assert disaster.volumes(host) == {"small.qcow2", "sbx-precious.img"}
        assert daemon.stop() == 0
    for thing in foreign:
        thing.assert_untouched()


def _booted(fleet: Fleet, box: Document) -> str:
    """Return the id of the guest's boot: another one after a restart."""
    host = fleet[box["host_name"]]
    argv = fleet.access.guest_argv(host.address, box["ip_address"])
    said: list[str] = []

    def answers() -> bool:
        with suppress(Exception):
            said.append(run(*argv, "cat /proc/sys/kernel/random/boot_id", limit_s=60).strip())
        return bool(said)

    wait_until(answers, what=f"ssh to {box['sandbox_name']}", limit_s=120, every_s=0.5)
    return said[-1]
