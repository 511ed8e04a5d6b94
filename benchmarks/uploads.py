"""Images taken in: how fast, beside copying the file, and what other callers notice of it.

`sandboxctl image upload` to a daemon without hosts: the file is hashed, sent, hashed as it arrives,
synced, and judged in a jail. The floor is sha256sum and a durable dd. Meanwhile another caller asks
for the daemon's health: how long that takes at worst is how late its event loop was.
Run: python -m benchmarks.uploads
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

from benchmarks.rounds import compare, duration
from scheduler.cli.client import Client
from tests.cli.running import PROGRAM
from tests.fleet.process import wait_until
from tests.proof.daemon import Daemon, running

MIB = 1024 * 1024
EVERY_SECONDS = 0.005


@dataclass
class Caller:
    """Somebody else, who asks again and again."""

    client: Client
    seconds: list[float] = field(default_factory=list)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask until the block is left."""
        over = threading.Event()

        def ask() -> None:
            while not over.wait(EVERY_SECONDS):
                begun = time.perf_counter()
                self.client.get("/healthz")
                self.seconds.append(time.perf_counter() - begun)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def told(self) -> str:
        """Return how long answers took."""
        cuts = quantiles(self.seconds, n=100)
        return (
            f"median {duration(cuts[49])}, p99 {duration(cuts[98])}, worst"
            f" {duration(max(self.seconds))}, of {len(self.seconds):,}"
        )


class Ours:
    """Whoever uploads an image, and deletes it again so that the next time is like the first."""

    def __init__(self, daemon: Daemon, image: Path) -> None:
        self._daemon = daemon
        self._image = image
        self.busy = Caller(daemon.api)

    def upload(self) -> int:
        """Upload the image once, and delete it."""
        environment = {**os.environ, "SANDBOXD_SOCKET": str(self._daemon.socket)}
        words = ("image", "upload", str(self._image), "--name", "measured")
        with self.busy.asking():
            subprocess.run(
                [*PROGRAM, *words], env=environment, check=True, stdout=subprocess.DEVNULL
            )
        api = self._daemon.api
        api.delete("/v1/images/measured")
        wait_until(lambda: not list(api.items("/v1/images")), what="the image's end")
        return 1


class Floor:
    """`sha256sum` and `dd`."""

    def __init__(self, image: Path) -> None:
        self._image = image

    def copy(self) -> int:
        """Hash the image and copy it durably."""
        subprocess.run(["sha256sum", self._image], check=True, stdout=subprocess.DEVNULL)
        copy = self._image.with_suffix(".copy")
        subprocess.run(
            ["dd", f"if={self._image}", f"of={copy}", "bs=1M", "conv=fsync", "status=none"],
            check=True,
        )
        copy.unlink()
        return 1


def make_image(directory: Path, mib: int) -> Path:
    """Write an image full of bytes that nothing compresses."""
    raw, image = directory / "raw", directory / "measured.qcow2"
    with raw.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(MIB))
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image)]
    subprocess.run(argv, check=True)
    raw.unlink()
    return image


def main() -> None:
    """Print the table, and what another caller noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--directory", type=Path, help="where the files go")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    settings = '[metrics]\nenabled = false\n[api]\ngroup = ""\n'
    with (
        tempfile.TemporaryDirectory(dir=options.directory) as name,
        running(Path(name), settings) as daemon,
    ):
        image = make_image(Path(name), options.mib)
        ours, idle = Ours(daemon, image), Caller(daemon.api)
        with idle.asking():
            time.sleep(5)
        table = compare(
            f"an image of {options.mib} MiB",
            {"sha256sum and dd": Floor(image).copy, "sandboxctl image upload": ours.upload},
            options.rounds,
        )
    print(f"{table.markdown()}\n")
    print(f"another caller's answers while nothing is uploaded: {idle.told()}")
    print(f"while an image is uploaded: {ours.busy.told()}")


if __name__ == "__main__":
    main()
