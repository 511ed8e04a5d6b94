"""P5: creating sandboxes through the API, beside a route that does nothing with the same models.

Both are served by the same listener, each in a process of its own on its own Unix socket; the
clients are protocols without an HTTP library, so that they do not become what is measured. The
daemon's loops are left out: nothing is built on hosts, which are not part of the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from benchmarks.create_servers import IMAGE
from benchmarks.rounds import compare, duration

BODY = json.dumps(
    {
        "base_image": IMAGE,
        "agent_id": "agent-7",
        "job_id": "nightly",
        "vcpus": 2,
        "memory_mb": 2048,
        "storage_mb": 10240,
        "labels": {"team": "ml", "purpose": "ci"},
        "ttl_seconds": 3600,
    }
).encode()
SERVERS: dict[str, tuple[str, ...]] = {
    "no-op FastAPI route, same models": ("floor",),
    "create, 1,000 hosts": ("create", "--hosts", "1000"),
    "create with Idempotency-Key, 1,000 hosts": ("create", "--hosts", "1000"),
    "create, 10,000 hosts": ("create", "--hosts", "10000"),
}
KEYED = "create with Idempotency-Key, 1,000 hosts"


@dataclass(slots=True)
class Load:
    """What one burst sends, and how long each answer took, in seconds."""

    requests: int
    keyed: bool
    latencies: list[float] = field(default_factory=list)
    sent: int = 0

    def next_request(self) -> bytes:
        """Return the next request's bytes."""
        self.sent += 1
        key = f"idempotency-key: {time.time_ns()}-{self.sent}\r\n" if self.keyed else ""
        head = (
            "POST /v1/sandboxes HTTP/1.1\r\nhost: localhost\r\n"
            f"content-type: application/json\r\n{key}content-length: {len(BODY)}\r\n\r\n"
        )
        return head.encode() + BODY


class Client(asyncio.Protocol):
    """One connection that asks again as soon as it is answered, until the load is sent."""

    def __init__(self, load: Load, done: asyncio.Future[None]) -> None:
        self._load = load
        self._done = done
        self._received = b""
        self._asked_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Take an answer, or a part of it."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        if head[9:10] != b"2":
            self._fail(RuntimeError(self._received.decode()))
            return
        self._load.latencies.append(time.perf_counter() - self._asked_at)
        self._received = b""
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail when the server hung up in between."""
        self._fail(exc or RuntimeError("the server hung up"))

    def _ask(self) -> None:
        if self._load.sent >= self._load.requests:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        request = self._load.next_request()
        self._asked_at = time.perf_counter()
        self._transport.write(request)

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)


async def send(path: Path, load: Load, clients: int) -> None:
    """Send a load over so many connections at once."""
    loop = asyncio.get_running_loop()
    done: list[asyncio.Future[None]] = [loop.create_future() for _ in range(clients)]
    for each in done:
        await loop.create_unix_connection(partial(Client, load, each), str(path))
    await asyncio.gather(*done)


@contextmanager
def served(arguments: Sequence[str], directory: Path) -> Iterator[Path]:
    """Run a server in a process of its own; yield its socket."""
    directory.mkdir()
    path = directory / "s"
    command = [sys.executable, "-m", "benchmarks.create_servers", *arguments, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"the server did not start: {' '.join(command)}")
            yield path
        finally:
            process.stdin.close()


def measure(options: argparse.Namespace, directory: Path) -> str:
    """Return the tables of throughput and latency as Markdown."""
    latencies: dict[str, list[list[float]]] = {label: [] for label in SERVERS}
    with ExitStack() as stack:
        paths = {
            label: stack.enter_context(served(arguments, directory / str(number)))
            for number, (label, arguments) in enumerate(SERVERS.items())
        }

        def burst(label: str) -> int:
            load = Load(requests=options.requests, keyed=label == KEYED)
            asyncio.run(send(paths[label], load, options.clients))
            latencies[label].append(load.latencies)
            return len(load.latencies)

        bursts = {label: partial(burst, label) for label in SERVERS}
        name = f"{options.clients} clients"
        table = compare(name, bursts, rounds=options.rounds)
    return f"{table.markdown()}\n\n{_latency_table(latencies)}"


def _latency_table(latencies: dict[str, list[list[float]]]) -> str:
    lines = ["| latency of one answer | p50 | p99 | p99 : p50 |", "|---|---|---|---|"]
    for label, bursts in latencies.items():
        # The first burst warmed up.
        cuts = [quantiles(burst, n=100) for burst in bursts[1:]]
        p50, p99 = median(cut[49] for cut in cuts), median(cut[98] for cut in cuts)
        lines.append(f"| {label} | {duration(p50)} | {duration(p99)} | {p99 / p50:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--directory", help="where the databases go: a real disk says more")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        print(measure(options, Path(directory)))


if __name__ == "__main__":
    main()
