"""A manifest of 100,000 files beside its floors: the same files read, and the same digests kept.

Taken over SSH from a server on this machine, beside find and sha256sum alone; kept and read beside
keeping the files' digests and nothing else, which no packing shortens.

    .venv/bin/python -m benchmarks.manifests
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rounds import Table, compare
from scheduler.changes.manifest_documents import from_bytes, to_bytes
from scheduler.changes.noise import NoiseRules
from scheduler.clock import SystemClock
from scheduler.guests.inventory import Bounds
from scheduler.guests.kept_files import KeptFiles
from scheduler.guests.manifests import Limits, Manifests
from scheduler.model import Manifest
from tests.guests.inventories import guest_here

FILES = 100_000
IN_ONE = 500
SECONDS = 3600.0
HASH_ALL = "find . -type f -print0 | xargs -0 sha256sum"


def fill(root: Path, files: int) -> None:
    """Make so many small files, no two the same."""
    for number in range(files):
        place = root / f"{number // IN_ONE:04}"
        place.mkdir(exist_ok=True)
        (place / f"{number:06}.conf").write_text(f"setting {number} = {number * 7}\n")


def hashed(root: Path) -> list[bytes]:
    """Return the digests of all files below, by the tools of the shell."""
    ran = subprocess.run(["sh", "-c", HASH_ALL], cwd=root, capture_output=True, check=True)
    return [bytes.fromhex(line[:64].decode()) for line in ran.stdout.splitlines()]


def taken(root: Path, state: Path) -> Manifest:
    """Take and keep a manifest of the directory, without any file's content."""

    async def take() -> Manifest:
        bounds = Bounds(roots=(str(root),), entries=2 * FILES, seconds=SECONDS)
        limits = Limits(bounds=bounds, content_bytes=0, noise=NoiseRules())
        async with (
            Manifests.open(state, SystemClock(), limits) as manifests,
            guest_here(None) as connection,
        ):
            return await manifests.get(await manifests.take(connection))

    return asyncio.run(take())


def taking(root: Path, state: Path, files: int, rounds: int) -> Table:
    """Return how taking one compares with hashing the files."""

    def bare() -> int:
        return len(hashed(root))

    def whole() -> int:
        manifest = taken(root, state)
        if sum(one.sha256 is not None for one in manifest.entries) != files:
            raise ValueError(f"not every file was read: {manifest.omissions[:3]}")
        return files

    bursts = {"find and sha256sum": bare, "taken over SSH, kept and read back": whole}
    return compare(f"a file of {files:,}", bursts, rounds=rounds)


def keeping(manifest: Manifest, digests: list[bytes], top: Path, rounds: int) -> Table:
    """Return how keeping and reading one compares with keeping its digests alone."""
    count = len(digests)
    turn = iter(range(10**6))

    def bare() -> int:
        KeptFiles(top / f"bare-{next(turn)}").keep(b"".join(digests))
        return count

    def kept() -> int:
        KeptFiles(top / f"kept-{next(turn)}").keep(to_bytes(manifest))
        return count

    files = KeptFiles(top / "read")
    name = files.keep(to_bytes(manifest))

    def read() -> int:
        from_bytes(files.get(name) or b"")
        return count

    bursts = {"the digests alone, packed and synced": bare, "the manifest kept": kept}
    return compare("a file", bursts | {"the manifest read": read}, rounds=rounds)


def sizes(manifest: Manifest, digests: list[bytes]) -> str:
    """Return what a manifest takes on disk, beside what cannot be packed."""
    document = to_bytes(manifest)
    packed, floor = len(zlib.compress(document, 1)), sum(map(len, digests))
    lines = ["| bytes of | in all | a file | ratio |", "|---|---|---|---|"]
    for label, size in (
        ("the digests alone, in binary", floor),
        ("the manifest's document", len(document)),
        ("the manifest as it is kept", packed),
    ):
        lines.append(f"| {label} | {size:,} | {size / len(digests):.1f} | {size / floor:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=FILES)
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="sandboxd-manifests-") as directory:
        top = Path(directory)
        root = top / "guest"
        root.mkdir()
        fill(root, asked.files)
        print(taking(root, top / "state", asked.files, asked.rounds).markdown(), flush=True)
        manifest, digests = taken(root, top / "state"), hashed(root)
        print(keeping(manifest, digests, top, asked.rounds).markdown(), flush=True)
        print(sizes(manifest, digests))


if __name__ == "__main__":
    main()
