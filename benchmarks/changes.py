"""A change set of 1,000 files beside its floor: the same bytes to the same disk, as durable.

The floor has the files' bytes ready and writes and syncs them one by one; the change set is
planned, rendered for both tools, scanned for secrets, written, synced and packed as well.

    .venv/bin/python -m benchmarks.changes
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rounds import compare
from scheduler.changes.trees import ChangeTree, change_tree
from scheduler.clock import SystemClock
from scheduler.model import Delta, EntryKind, FileChange, ManifestEntry
from scheduler.publishing.change_files import write_change_set

FILES = 1_000
BYTES = 2_048


def changed(files: int) -> tuple[Delta, dict[str, bytes]]:
    """Return a delta of so many new files, each with a content of its own."""
    contents: dict[str, bytes] = {}
    changes = []
    for number in range(files):
        content = hashlib.sha256(str(number).encode()).hexdigest().encode() * (BYTES // 64)
        digest = hashlib.sha256(content).hexdigest()
        contents[digest] = content
        entry = ManifestEntry(
            path=f"/srv/app/{number:05}/settings.conf",
            kind=EntryKind.FILE,
            size=len(content),
            mode=0o644,
            uid=0,
            gid=0,
            owner="root",
            group="root",
            sha256=digest,
        )
        changes.append(FileChange(before=None, after=entry))
    return Delta(files=tuple(changes)), contents


def write_bare(directory: Path, tree: ChangeTree, contents: dict[str, bytes]) -> None:
    """Write and sync the files of a tree, and nothing more."""
    shutil.rmtree(directory, ignore_errors=True)
    for path in (*tree.files, *tree.contents):
        content = tree.files.get(path)
        place = directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            file.write(contents[tree.contents[path]] if content is None else content)
            file.flush()
            os.fsync(file.fileno())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    delta, contents = changed(FILES)
    at = SystemClock().now()

    def made() -> ChangeTree:
        return change_tree(delta, contents, name="app", title="a benchmark")

    tree = made()
    with TemporaryDirectory(dir=Path.cwd()) as directory:
        top = Path(directory)

        def bare() -> int:
            write_bare(top / "bare", tree, contents)
            return 1

        def rendered() -> int:
            made()
            return 1

        def whole() -> int:
            write_change_set(top / "CHG-1", made, contents, at)
            return 1

        table = compare(
            f"change set of {FILES:,} files of {BYTES} bytes",
            {
                "the same bytes, written and synced": bare,
                "planned and rendered only": rendered,
                "planned, rendered, written, synced, packed": whole,
            },
            rounds=rounds,
        )
    print(table.markdown())


if __name__ == "__main__":
    main()
