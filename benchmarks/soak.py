"""P8 over time: a daemon under steady traffic and steady trouble, and whether anything of it grows.

Callers make, stop, extend, read and delete sandboxes on real libvirtd of the test driver, of which
one hangs now and then and another is drained. When all is over the daemon audits itself, and the
hosts must hold nothing. Run: python -m benchmarks.soak --minutes 60
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import combinations
from operator import attrgetter
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from scheduler.cli.client import Client
from scheduler.cli.failures import Failure, Refused
from tests.farm.estate import GUEST, Estate, estate
from tests.farm.watch import metrics_port
from tests.fleet.farm import FarmHost, LibvirtdFarm
from tests.fleet.furniture import FOREIGN, FOREIGN_VOLUME
from tests.fleet.process import wait_until

SAMPLE_SECONDS = 10.0
SCRAPE_SECONDS = 15.0
HANG_SECONDS = 30.0
"""How long a host hangs, and how long it is well before the next one does."""
LEASES = (20, 90)
"""The shortest and the longest lease that callers ask for, in seconds."""
THINKING_SECONDS = 0.4
"""What a caller waits for on average before it asks again."""
MOST_LIVE = 60
KEPT_SECONDS = 300
"""What is over is kept for so long, so that all is steady before the first half is over."""
LIMIT_SECONDS = 300.0
GOAL_PERCENT_AN_HOUR = 1.0
CLAIMS = ("reserved_cpus", "reserved_memory_mb", "reserved_storage_mb", "reserved_sandboxes")
RETENTION = "\n".join(
    ["[retention]", "events_rows = 10000"]
    + [f"{kind}_seconds = {KEPT_SECONDS}" for kind in ("events", "decisions", "tombstones")]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the daemon holds at one moment."""

    seconds: float
    resident_mib: float
    threads: int
    descriptors: int
    database_mib: float


@dataclass
class Traffic:
    """Callers of one daemon, each with a seed of its own, until they are told to end."""

    socket: str
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def caller(self, seed: int) -> None:
        """Ask for one thing after the other."""
        dice = random.Random(seed)
        client = Client(self.socket, answer_seconds=60)
        asks = (self._create, self._create, self._delete, self._stop, self._extend, self._read)
        while not self.over.wait(dice.expovariate(1 / THINKING_SECONDS)):
            ask = dice.choice(asks)
            try:
                ask(client, dice)
            except Refused as refused:
                # Others delete what one has just read, and a fleet with a drained host is full.
                self.counts[f"refused: {refused.code}"] += 1
            except Failure as failure:
                self.failures.append(f"{ask.__name__}: {failure}")
            else:
                self.counts[ask.__name__.removeprefix("_")] += 1

    def scraper(self, page: str) -> None:
        """Read the metrics as Prometheus does."""
        while not self.over.wait(SCRAPE_SECONDS):
            with urlopen(page, timeout=60) as answer:
                answer.read()
            self.counts["scrape"] += 1

    def listener(self) -> None:
        """Follow the journal, and begin anew after each few hundred events."""
        client = Client(self.socket, answer_seconds=60)
        while not self.over.is_set():
            for number, _ in enumerate(client.events(idle_seconds=60, last=1)):
                self.counts["event"] += 1
                if number > 300 or self.over.is_set():
                    break

    def _create(self, client: Client, dice: random.Random) -> None:
        if len(_live(client)) >= MOST_LIVE:
            return
        body = {**GUEST, "ttl_seconds": dice.randint(*LEASES), "auto_start": dice.random() < 0.9}
        client.post("/v1/sandboxes", {**body, "job_id": f"soak-{dice.randint(1, 9)}"})

    def _delete(self, client: Client, dice: random.Random) -> None:
        if live := _live(client):
            client.delete(f"/v1/sandboxes/{dice.choice(live)}")

    def _stop(self, client: Client, dice: random.Random) -> None:
        if live := _live(client):
            which = dice.choice(live)
            client.post(f"/v1/sandboxes/{which}/stop")
            client.post(f"/v1/sandboxes/{which}/start")

    def _extend(self, client: Client, dice: random.Random) -> None:
        if live := _live(client):
            body = {"ttl_seconds": dice.randint(*LEASES)}
            client.post(f"/v1/sandboxes/{dice.choice(live)}/extend", body)

    def _read(self, client: Client, dice: random.Random) -> None:
        client.get("/v1/capacity", vcpus=1, memory_mb=128, storage_mb=128)
        client.post("/v1/placements/explain", {k: v for k, v in GUEST.items() if k != "agent_id"})
        client.get("/v1/hosts")
        if live := _live(client):
            client.get(f"/v1/sandboxes/{dice.choice(live)}/decision")


def _live(client: Client) -> list[str]:
    return [one["id"] for one in client.items("/v1/sandboxes") if one["state"] != "DESTROYED"]


def trouble(opened: Estate, over: threading.Event, seed: int) -> None:
    """Have one host hang for a while, then drain another and take it back, and so on."""
    dice = random.Random(seed)
    hosts = list(opened.hosts)
    while not over.is_set():
        hung, drained = dice.sample(hosts, 2)
        hung.suspend()
        over.wait(HANG_SECONDS)
        hung.resume()
        over.wait(HANG_SECONDS)
        _drain(opened, drained, over)


def _drain(opened: Estate, host: FarmHost, over: threading.Event) -> None:
    api = opened.daemon.api
    api.post(f"/v1/hosts/{host.name}/drain", {"policy": "destroy", "deadline_seconds": 60})
    over.wait(HANG_SECONDS)
    if _drains(api, host):
        api.post(f"/v1/hosts/{host.name}/drain/abort")
    api.post(f"/v1/hosts/{host.name}/uncordon")


def _drains(api: Client, host: FarmHost) -> bool:
    return bool(api.get(f"/v1/hosts/{host.name}/drain")["state"] == "ACTIVE")


def sample(opened: Estate, begun: float) -> Sample:
    """Look at what the daemon's process and its database hold."""
    process = opened.daemon.process
    assert process is not None
    proc = Path(f"/proc/{process.pid}")
    status = dict(
        line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line
    )
    state = opened.daemon.state_dir
    return Sample(
        seconds=time.monotonic() - begun,
        resident_mib=int(status["VmRSS"].split()[0]) / 1024,
        threads=int(status["Threads"]),
        descriptors=sum(1 for _ in (proc / "fd").iterdir()),
        database_mib=sum(file.stat().st_size for file in state.glob("*.db*")) / 2**20,
    )


def percent_an_hour(samples: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    """Return how fast something grows: the median slope over all pairs of samples (Theil, Sen)."""
    slopes = [
        (of(later) - of(sooner)) / (later.seconds - sooner.seconds)
        for sooner, later in combinations(samples, 2)
    ]
    return 100 * 3600 * median(slopes) / median(of(one) for one in samples)


@contextmanager
def busy(opened: Estate, callers: int, seed: int) -> Iterator[Traffic]:
    """Have callers, and trouble, while the block runs."""
    traffic = Traffic(str(opened.daemon.socket))
    page = f"http://127.0.0.1:{metrics_port(opened.daemon)}/metrics"
    threads = [
        *(threading.Thread(target=traffic.caller, args=(seed + n,)) for n in range(callers)),
        threading.Thread(target=traffic.scraper, args=(page,)),
        threading.Thread(target=traffic.listener),
        threading.Thread(target=trouble, args=(opened, traffic.over, seed)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield traffic
    finally:
        traffic.over.set()
        for thread in threads:
            thread.join()


def leftovers(opened: Estate) -> list[str]:
    """Delete what lives, wait until all is gone, and return what does not add up then."""
    api = opened.daemon.api
    for id in _live(api):
        api.delete(f"/v1/sandboxes/{id}")
    wait_until(lambda: not _live(api), what="all gone", limit_s=LIMIT_SECONDS, every_s=0.5)
    report = api.get("/v1/audit")
    strange = [one for one in report["orphans"] if one["name"] not in (FOREIGN, FOREIGN_VOLUME)]
    found = [f"audit: {one['message']}" for one in (*report["findings"], *strange)]
    for host in opened.hosts:
        found += [f"{host.name} holds {name}" for name in sorted(opened.holds(host))]
        record = api.get(f"/v1/hosts/{host.name}")
        found += [f"{host.name}: {name} {record[name]}" for name in CLAIMS if record[name]]
    return found


def main() -> None:
    """Print what the daemon held over time, how fast that grew, and what was left at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--hosts", type=int, default=5)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    samples: list[Sample] = []
    with (
        tempfile.TemporaryDirectory() as name,
        LibvirtdFarm(options.hosts) as farm,
        estate(Path(name), farm.hosts, lambda host: host.uri, more=RETENTION) as opened,
    ):
        begun = time.monotonic()
        with busy(opened, options.callers, options.seed) as traffic:
            while time.monotonic() - begun < options.minutes * 60:
                time.sleep(SAMPLE_SECONDS)
                samples.append(sample(opened, begun))
        _tell(samples, traffic, leftovers(opened))


def _tell(samples: Sequence[Sample], traffic: Traffic, left: Sequence[str]) -> None:
    names = [one.name for one in fields(Sample)][1:]
    print("| minutes | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    step = max(1, len(samples) // 12)
    for one in samples[step - 1 :: step]:
        told = " | ".join(f"{getattr(one, name):.4g}" for name in names)
        print(f"| {one.seconds / 60:.0f} | {told} |")
    later = samples[len(samples) // 2 :]
    for name in names:
        growth = percent_an_hour(later, attrgetter(name))
        print(f"{name}: {growth:+.2f} % an hour over the second half")
    print(f"goal for resident_mib: below {GOAL_PERCENT_AN_HOUR:.0f} % an hour")
    print(", ".join(f"{count:,} {what}" for what, count in sorted(traffic.counts.items())))
    print(f"failures: {traffic.failures or 'none'}")
    print(f"left at the end: {list(left) or 'nothing'}")


if __name__ == "__main__":
    main()
