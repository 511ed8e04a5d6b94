"""P10: from being asked for a sandbox until it is RUNNING, beside `virsh` doing the same by hand.

By hand means on the host: overlay, seed (a sandbox's), define, start, and asking for the lease.
Three moments tell where the time goes: QEMU was started (libvirt's log says so), the guest had its
lease (the file of leases), and it was known. Between the first two lies the guest's own boot. Real
libvirt, emulated guests, the daemon as a process. Run as root: python -m benchmarks.boots
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from lxml import etree

from benchmarks.rounds import Line, Table, duration, met_or_missed
from tests.fleet.fleet import Fleet
from tests.fleet.host import Host
from tests.fleet.process import wait_until
from tests.proof.daemon import running
from tests.proof.test_main_job import Story, configuration

GOAL_TIMES = 1.15
GOAL_SHARE_SECONDS = 0.150
BOOT_LIMIT_SECONDS = 240.0
ASK_SECONDS = 0.2
HAND = "by-hand"
ROOM = "/var/lib/libvirt"
"""Where a host has files of its own."""
LEASES = f"{ROOM}/dnsmasq/virbr0.status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """How one guest came up; seconds."""

    whole: float
    prepared: float
    """Until QEMU was started."""
    noticed: float
    """From the guest's lease until it was known that it has one."""

    @property
    def around(self) -> float:
        """Return all but the guest's boot."""
        return self.prepared + self.noticed


class ByHand:
    """An administrator on the host, who has the domain and the seed of a sandbox."""

    def __init__(self, host: Host, sandbox: str) -> None:
        self._host = host
        document = etree.fromstring(host.virsh("dumpxml", "--inactive", sandbox))
        disk, seed = (one.get("file") for one in document.iterfind("devices/disk/source"))
        assert disk is not None
        assert seed is not None
        self._seed = f"{ROOM}/{HAND}.iso"
        host.run("cp", seed, self._seed)
        self._size = str(host.file(self._seed).stat().st_size)
        folder = Path(disk).parent
        for source, name in zip(
            document.iterfind("devices/disk/source"), self._volumes, strict=True
        ):
            source.set("file", str(folder / name))
        _set(document, "name", HAND)
        for unwanted in ("uuid", "metadata"):
            for one in document.findall(unwanted):
                document.remove(one)
        self._document = document
        self._domain = f"{ROOM}/{HAND}.xml"
        self._count = 0

    @property
    def _volumes(self) -> tuple[str, str]:
        return f"{HAND}.qcow2", f"{HAND}.iso"

    def boot(self) -> Came:
        """Make, start and find the guest, and take all of it away again."""
        virsh, (disk, seed) = self._host.virsh, self._volumes
        self._write_domain()
        begun = time.time()
        overlay = ("--format", "qcow2", "--backing-vol", "small.qcow2")
        virsh("vol-create-as", "default", disk, "256M", *overlay, "--backing-vol-format", "qcow2")
        virsh("vol-create-as", "default", seed, self._size, "--format", "raw")
        virsh("vol-upload", "--pool", "default", seed, self._seed)
        virsh("define", self._domain)
        virsh("start", HAND)
        wait_until(
            lambda: virsh("domifaddr", HAND, "--source", "lease").strip() != "",
            what="the lease",
            limit_s=BOOT_LIMIT_SECONDS,
            every_s=ASK_SECONDS,
        )
        came = _came(self._host, HAND, begun, time.time())
        virsh("destroy", HAND)
        virsh("undefine", HAND)
        for volume in self._volumes:
            virsh("vol-delete", "--pool", "default", volume)
        return came

    def _write_domain(self) -> None:
        """Have another card each time: to the last one there is a lease already."""
        self._count += 1
        for card in self._document.iterfind("devices/interface/mac"):
            card.set("address", f"52:54:00:68:61:{self._count:02x}")
        self._host.file(self._domain).write_bytes(etree.tostring(self._document))


class Ours:
    """Whoever asks the daemon."""

    def __init__(self, story: Story, host: Host) -> None:
        self._story = story
        self._host = host
        self._count = 0

    def boot(self) -> Came:
        """Ask for a sandbox, wait until it is RUNNING, and destroy it."""
        self._count += 1
        name = f"box-{self._count}"
        begun = time.time()
        self._story.create(name)
        box = self._story.daemon.wait_for(name, seconds=BOOT_LIMIT_SECONDS, state="RUNNING")
        known = datetime.fromisoformat(box["running_at"]).timestamp()
        came = _came(self._host, name, begun, known)
        self.destroy(name)
        return came

    def destroy(self, name: str) -> None:
        """Destroy a sandbox and wait until it is gone."""
        api = self._story.daemon.api
        api.delete(f"/v1/sandboxes/{name}")
        wait_until(
            lambda: name not in {box["sandbox_name"] for box in api.items("/v1/sandboxes")},
            what=f"the end of {name}",
            limit_s=BOOT_LIMIT_SECONDS,
        )


def _set(document: etree._Element, name: str, text: str) -> None:
    found = document.find(name)
    assert found is not None
    found.text = text


def _came(host: Host, domain: str, begun: float, known: float) -> Came:
    log = host.file(f"/var/log/libvirt/qemu/{domain}.log").read_text(errors="replace")
    said = re.findall(r"^(\S+ \S+): starting up", log, flags=re.MULTILINE)[-1]
    started = datetime.strptime(said, "%Y-%m-%d %H:%M:%S.%f%z").timestamp()
    leased = host.file(LEASES).stat().st_mtime
    return Came(whole=known - begun, prepared=started - begun, noticed=known - leased)


def boots(directory: Path, rounds: int) -> tuple[Table, dict[str, list[Came]]]:
    """Boot guests both ways in turn."""
    with Fleet.make(1) as fleet, running(directory, configuration(fleet)) as daemon:
        (host,) = fleet
        story = Story(fleet, daemon)
        story.hosts_come_up()
        ours = Ours(story, host)
        story.create("pattern")
        daemon.wait_for("pattern", seconds=BOOT_LIMIT_SECONDS, state="RUNNING")
        by_hand = ByHand(host, "pattern")
        ours.destroy("pattern")
        ways: dict[str, Callable[[], Came]] = {"virsh, by hand": by_hand.boot, "ours": ours.boot}
        found: dict[str, list[Came]] = {label: [] for label in ways}
        again: list[Came] = []
        for _ in range(rounds):
            for label, boot in ways.items():
                found[label].append(boot())
            again.append(by_hand.boot())
    floor = [came.whole for came in found["virsh, by hand"]]
    lines = tuple(
        Line(
            label=label,
            rates=tuple(1 / came.whole for came in all_of),
            ratios=tuple(base / came.whole for base, came in zip(floor, all_of, strict=True)),
        )
        for label, all_of in found.items()
    )
    control = median(base / came.whole for base, came in zip(floor, again, strict=True))
    return Table(name="create to RUNNING", lines=lines, control=control), found


def main() -> None:
    """Print the table, where the time went, and the goals' verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory() as directory:
        table, found = boots(Path(directory), options.rounds)
    print(f"{table.markdown()}\n")
    for label, all_of in found.items():
        prepared = median(came.prepared for came in all_of)
        noticed = median(came.noticed for came in all_of)
        print(
            f"{label}: QEMU started after {duration(prepared)}, lease known after {noticed:.2f} s"
        )
    hand, ours = (median(came.around for came in all_of) for all_of in found.values())
    share, times = ours - hand, 1 / table.line("ours").ratio
    print(f"{times:.2f}x; the goal of {GOAL_TIMES}x is {met_or_missed(times <= GOAL_TIMES)}")
    kept = met_or_missed(share <= GOAL_SHARE_SECONDS)
    print(
        f"without the boots ours takes {share * 1e3:.0f} ms more than by hand;"
        f" the goal of {GOAL_SHARE_SECONDS * 1e3:.0f} ms is {kept}"
    )


if __name__ == "__main__":
    main()
