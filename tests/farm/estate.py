"""A daemon over a farm of hosts that get into trouble, and one beside it that has none."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from tests.farm.watch import Watch, Watched
from tests.fleet.farm import FarmHost, LibvirtdFarm
from tests.fleet.furniture import FOREIGN, FOREIGN_VOLUME, IMAGE, POOL, furnish
from tests.fleet.process import wait_until
from tests.proof.daemon import Daemon, Document, running

POLL_S = 1.0
GUEST = {"base_image": IMAGE, "agent_id": "farm", "vcpus": 1, "memory_mb": 128, "storage_mb": 128}
LIMIT_S = 180.0
LATE_LOOP = "the event loop wakes"


@dataclass
class Estate:
    """A running daemon over a farm."""

    daemon: Daemon
    hosts: Collection[FarmHost]

    def create(self, name: str, **fields: object) -> Document:
        """Ask for a small sandbox."""
        body = {**GUEST, "sandbox_name": name, **fields}
        made: Document = self.daemon.api.post("/v1/sandboxes", body)
        return made

    def created(self, name: str, **fields: object) -> Document:
        """Return a small sandbox that is up."""
        made = self.create(name, **fields)
        return self.daemon.wait_for(made["id"], state="RUNNING", seconds=LIMIT_S)

    def destroyed(self, sandbox: Document) -> None:
        """Return once a sandbox that is to go is gone."""
        self.daemon.api.delete(f"/v1/sandboxes/{sandbox['id']}")
        self.daemon.wait_for(sandbox["id"], state="DESTROYED", seconds=LIMIT_S)

    def healths(self) -> dict[str, str]:
        """Return every host's health by its name."""
        return {host["name"]: host["health"] for host in self.daemon.api.items("/v1/hosts")}

    def wait_for_health(self, hosts: Iterable[FarmHost], *wanted: str) -> None:
        """Return once each of these hosts is in one of these healths."""
        names = {host.name for host in hosts}
        wait_until(
            lambda: all(self.healths()[name] in wanted for name in names),
            what=f"{sorted(names)} {' or '.join(wanted)}",
            limit_s=LIMIT_S,
            every_s=0.2,
        )

    def round(self, host: FarmHost, name: str) -> float:
        """Have a sandbox come and go on a host; return how long it took."""
        begun = time.monotonic()
        self.destroyed(self.created(name, host=host.name))
        return time.monotonic() - begun

    def holds(self, host: FarmHost) -> set[str]:
        """Return the names of the domains and volumes on a host that are not somebody else's."""
        with closing(libvirt.open(host.uri)) as connection:
            domains = {domain.name() for domain in connection.listAllDomains()}
            pool = connection.storagePoolLookupByName(POOL)
            volumes = {volume.name() for volume in pool.listAllVolumes()}
        return (domains - {FOREIGN}) | (volumes - {IMAGE, FOREIGN_VOLUME})

    def threads(self) -> int:
        """Return how many threads the daemon has."""
        assert self.daemon.process is not None
        return len(os.listdir(f"/proc/{self.daemon.process.pid}/task"))  # noqa: PTH208 - a count


@dataclass
class Neighbours:
    """An estate, and another with a single host that is well, asked the same at the same time."""

    estate: Estate
    beside: Estate

    def watch(self, host: FarmHost) -> Watch:
        """Watch a host of the estate while a block runs."""
        (other,) = self.beside.hosts
        return Watch(
            Watched(self.estate.daemon, host.name), Watched(self.beside.daemon, other.name)
        )

    def rounds(self, watch: Watch, host: FarmHost, name: str, count: int) -> None:
        """Have sandboxes come and go on the watched hosts of both, in turns."""
        (other,) = self.beside.hosts
        for number in range(count):
            watch.watched.seen.rounds.append(self.estate.round(host, f"{name}-{number}"))
            watch.beside.seen.rounds.append(self.beside.round(other, f"{name}-{number}"))


@contextmanager
def neighbours(
    directory: Path, farm: LibvirtdFarm, way: Callable[[FarmHost], str]
) -> Iterator[Neighbours]:
    """Run a daemon over all of a farm but its last host, which is the other daemon's."""
    *hosts, other = farm.hosts
    for name in ("estate", "beside"):
        (directory / name).mkdir()
    with (
        estate(directory / "beside", [other], way) as beside,
        estate(directory / "estate", hosts, way) as opened,
    ):
        # What is done for the first time takes longer.
        beside.round(other, "first")
        opened.round(hosts[-1], "first")
        yield Neighbours(opened, beside)


@contextmanager
def estate(
    directory: Path, hosts: Collection[FarmHost], way: Callable[[FarmHost], str], more: str = ""
) -> Iterator[Estate]:
    """Run a daemon over these hosts, each reached by `way`, and wait until all of them are up.

    `more` are further sections of its configuration.
    """
    for host in hosts:
        furnish(host)
    configuration = "\n".join([more, _configuration({host.name: way(host) for host in hosts})])
    with running(directory, configuration, PYTHONFAULTHANDLER="1") as daemon:
        opened = Estate(daemon, hosts)
        opened.wait_for_health(hosts, "UP")
        yield opened
        assert not _errors(daemon.log.read_text()), daemon.log_tail()


def _errors(log: str) -> list[str]:
    """Return the errors in a daemon's log, but for a loop that woke late.

    A machine that stops a process for seconds has it say so; what is the daemon's own is watched.
    """
    lines = [line for line in log.splitlines() if '"level": "error"' in line]
    return [line for line in lines if not _is_late_loop(json.loads(line))]


def _is_late_loop(line: Mapping[str, Any]) -> bool:
    parts = line.get("parts", [])
    return bool(parts) and all(part.startswith(LATE_LOOP) for part in parts)


def _configuration(ways: Mapping[str, str]) -> str:
    lines = ["[metrics]", 'listen = "127.0.0.1:0"', "[api]", 'group = ""']
    lines += ["[lifecycle]", f"poll_seconds = {POLL_S}"]
    for name, uri in ways.items():
        lines += ["[[hosts]]", f'name = "{name}"', f'uri = "{uri}"']
        lines += ['transport = "unix"', f'pool = "{POOL}"']
    return "\n".join(lines)
