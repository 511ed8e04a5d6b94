"""A diff of two manifests of 100,000 files beside its floor: the same facts in bare dictionaries.

The floor has each path's facts as a tuple in a dictionary, and tells in order what came, went or
changed. The diff asks for noise, packages and the unseen too; the last line reads both manifests.

    .venv/bin/python -m benchmarks.diffs
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from dataclasses import astuple, replace

from benchmarks.rounds import compare
from scheduler.changes.delta import delta
from scheduler.changes.manifest_documents import from_bytes, to_bytes
from scheduler.changes.noise import DEFAULT_NOISE
from scheduler.clock import SystemClock
from scheduler.model import EntryKind, Manifest, ManifestEntry, PackageInfo

FILES = 100_000
IN_DIRECTORY = 50
CHANGED_IN = 100
"""One file of so many holds something else afterwards, one is gone and one is new."""

Facts = Mapping[str, tuple[object, ...]]


def manifest(files: int, *, changed: bool) -> Manifest:
    """Return a guest of so many files."""
    entries = []
    for number in range(files):
        kind = number % CHANGED_IN if changed else -1
        if kind == 1:
            continue
        entries.append(_entry(number, version=int(kind == 0)))
        if kind == 2:
            entries.append(replace(_entry(number, version=0), path=f"/srv/new/{number}"))
    return Manifest(
        taken_at=SystemClock().now(),
        roots=("/etc", "/srv"),
        entries=tuple(entries),
        packages=tuple(PackageInfo(name=f"p{one}", version="1") for one in range(500)),
        package_manager="dpkg",
    )


def _entry(number: int, *, version: int) -> ManifestEntry:
    return ManifestEntry(
        path=f"/srv/app/{number // IN_DIRECTORY:05}/lib/file-{number:06}.conf",
        kind=EntryKind.FILE,
        size=2048,
        mode=0o644,
        uid=0,
        gid=0,
        owner="root",
        group="root",
        sha256=hashlib.sha256(f"{number}-{version}".encode()).hexdigest(),
    )


def bare(before: Facts, after: Facts) -> int:
    """Compare two sides, and return how many paths are different."""
    gone = [path for path in before if path not in after]
    come = [path for path in after if path not in before]
    both = [path for path, facts in before.items() if path in after and after[path] != facts]
    return len(sorted([*gone, *come, *both]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    kept = [to_bytes(manifest(FILES, changed=changed)) for changed in (False, True)]
    before, after = map(from_bytes, kept)
    same = from_bytes(kept[0])
    sides = [{one.path: astuple(one) for one in side.entries} for side in (before, after)]
    found = len(delta(before, after, DEFAULT_NOISE).files)
    assert bare(*sides) == found == 3 * FILES // CHANGED_IN

    def floor() -> int:
        bare(*sides)
        return 1

    def compared(other: Manifest) -> int:
        delta(before, other, DEFAULT_NOISE)
        return 1

    def read() -> int:
        delta(from_bytes(kept[0]), from_bytes(kept[1]), DEFAULT_NOISE)
        return 1

    table = compare(
        f"diff of two manifests of {FILES:,} files",
        {
            f"bare dictionaries, {found:,} paths different": floor,
            "nothing different": lambda: compared(same),
            f"{found:,} paths different": lambda: compared(after),
            f"both read from what is kept, {found:,} paths different": read,
        },
        rounds=rounds,
    )
    print(table.markdown())


if __name__ == "__main__":
    main()
