"""P8 and P9: a daemon that starts over a large fleet: when it answers, and what memory it takes.

Recorded beforehand are simulated hosts with running domains, and some that accept a connection and
never answer. Simulated hypervisors live in the process that opens them; what they take is told
beside. Run: python -m benchmarks.restart
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.fleets import Resident, record, residents, write_node_file
from benchmarks.rounds import duration
from scheduler import logs
from scheduler.config import Settings
from scheduler.config.loading import load
from scheduler.hosts.cluster import open_cluster
from scheduler.model import Transport
from scheduler.service.clusters import CLUSTER_SETTING
from scheduler.store import Store
from scheduler.store.config import store_config_of

GOAL_SOCKET_SECONDS = 2.0
GOAL_READY_SECONDS = 5.0
GOAL_MIB = 256
POLL_SECONDS = 10.0
LIMIT_SECONDS = 120.0
OF_THE_UNIT = {"MALLOC_ARENA_MAX": "2"}
"""What deploy/sandboxd.service puts into the daemon's environment."""
CONFIGURATION = '[metrics]\nenabled = false\n[api]\ngroup = ""\n'
IMPORTS = (
    "import time; t = time.perf_counter(); import scheduler.daemon; print(time.perf_counter() - t)"
)
BARE = """\
import json, re, sys
import libvirt
before = int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
kept = [libvirt.open(uri) for uri in json.load(sys.stdin)]
print(int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) - before)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start of the daemon; seconds, those until it is ready without its imports, and MiB."""

    socket_seconds: float
    ready_seconds: float
    mib: float


@contextmanager
def silent(directory: Path, count: int) -> Iterator[list[str]]:
    """Yield the URIs of hosts that take a connection and answer nothing."""
    with ExitStack() as stack:
        uris = []
        for number in range(count):
            path = directory / f"hung-{number}"
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(str(path))
            listening.listen(8)
            uris.append(f"qemu+unix:///system?socket={path}")
        yield uris


def prepare(settings: Settings, fleet: Sequence[Resident]) -> None:
    """Write the records, and the node files of the simulated hosts."""
    keyring = open_cluster(settings.state_dir, None)
    for resident in fleet:
        if resident.host.transport is Transport.TEST:
            write_node_file(resident, keyring)

    async def write() -> None:
        async with Store.open(store_config_of(settings)) as store:
            await store.submit(lambda tx: tx.settings.ensure(CLUSTER_SETTING, keyring.cluster_id))
            await record(store, fleet)

    asyncio.run(write())


def start(settings: Settings, imports: float, watch_seconds: float) -> Start:
    """Start the daemon once, watch it for a while, and end it."""
    configuration = settings.state_dir / "config.toml"
    configuration.write_text(CONFIGURATION)
    log = settings.state_dir / "log"
    argv = [sys.executable, "-m", "scheduler.daemon", "--config", str(configuration)]
    with log.open("w") as file:
        begun = time.perf_counter()
        daemon = subprocess.Popen(
            [*argv, "--state-dir", str(settings.state_dir)],
            stderr=file,
            stdout=file,
            env={**os.environ, **OF_THE_UNIT},
        )
    try:
        bound = _until(settings.socket.exists, begun)
        ready = _until(lambda: '"event": "ready"' in log.read_text(), begun)
        time.sleep(watch_seconds)
        used = resident_mib(daemon.pid)
    finally:
        daemon.terminate()
        daemon.wait(LIMIT_SECONDS)
    return Start(socket_seconds=bound, ready_seconds=ready - imports, mib=used)


def resident_mib(pid: int) -> float:
    """Return the memory in MiB that a process has resident."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def bare_mib(fleet: Sequence[Resident]) -> float:
    """Return what the simulated hypervisors alone take."""
    uris = [one.host.uri for one in fleet if one.host.transport is Transport.TEST]
    argv = [sys.executable, "-c", BARE]
    told = subprocess.run(argv, input=json.dumps(uris), capture_output=True, text=True, check=True)
    return int(told.stdout) / 1024


def _until(condition: object, begun: float) -> float:
    assert callable(condition)
    while not condition():
        assert time.perf_counter() - begun < LIMIT_SECONDS, "the daemon did not come up"
        time.sleep(0.005)
    return time.perf_counter() - begun


def _imports() -> float:
    argv = [sys.executable, "-c", IMPORTS]
    return float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print the best of some starts, and the goals' verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=1_000)
    parser.add_argument("--hung", type=int, default=20)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--watch", type=float, default=3 * POLL_SECONDS, help="seconds, then RSS")
    options = parser.parse_args()
    logs.configure("error")
    with tempfile.TemporaryDirectory() as name:
        settings = load(None, state_dir=Path(name), environ={})
        fleet = residents(settings.state_dir, options.hosts, options.each)
        with silent(settings.state_dir, options.hung) as uris:
            for row, uri in enumerate(uris):
                mute = replace(fleet[row].host, transport=Transport.UNIX, uri=uri)
                fleet[row] = replace(fleet[row], host=mute)
            prepare(settings, fleet)
            imports = min(_imports() for _ in range(3))
            starts = [start(settings, imports, options.watch) for _ in range(options.starts)]
            bare = bare_mib(fleet)
    _tell(options, starts, bare, imports)


def _tell(options: argparse.Namespace, starts: list[Start], bare: float, imports: float) -> None:
    bound, ready = min(s.socket_seconds for s in starts), min(s.ready_seconds for s in starts)
    most = max(s.mib for s in starts)
    print(
        f"{options.hosts:,} hosts, {options.hung} of them hung, {options.hosts * options.each:,}"
        f" sandboxes; best of {len(starts)} starts"
    )
    # Most of the imports come before the socket, and some of them after it.
    print(f"socket {duration(bound)}, imports included (goal {duration(GOAL_SOCKET_SECONDS)})")
    print(
        f"ready {duration(ready)}, imports ({duration(imports)}) taken off"
        f" (goal {duration(GOAL_READY_SECONDS)})"
    )
    print(f"resident after {options.watch:.0f} s: {most:.0f} MiB at most, of which the simulated")
    print(f"hypervisors take {bare:.0f} MiB: {most - bare:.0f} MiB are ours (goal {GOAL_MIB})")


if __name__ == "__main__":
    main()
