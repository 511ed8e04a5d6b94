"""Change sets on disk: a directory each, whole or not there, and its archive beside it.

A directory is written under another name and renamed, after all of it is on the disk; one that a
crash cut short is written anew.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from scheduler.changes.archives import FILE_MODE, write_archive
from scheduler.changes.contents import Contents
from scheduler.changes.trees import ChangeTree
from scheduler.durable import sync
from scheduler.errors import Invalid
from scheduler.statedir import on_disk

T = TypeVar("T")

FOLDER = "changes"
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ID = re.compile(r"CHG-[0-9A-Z]{1,40}")
_THREADS = 2


def fault_of_job(job_id: str) -> str | None:
    """Return why no directory can be called after a job, None when one can."""
    if _JOB.fullmatch(job_id):
        return None
    return "a job's id has letters, digits, '.', '_' and '-' only, where it has change sets"


class ChangeFiles:
    """The change sets' directories under the state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._top = state_dir / FOLDER
        self._threads = ThreadPoolExecutor(_THREADS, "change-files")

    def close(self) -> None:
        """Let the threads end after what they are doing."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def directory(self, job_id: str, change_set_id: str) -> Path:
        """Return where a change set lies; raises `Invalid` for what is no name of a directory."""
        if (reason := fault_of_job(job_id)) is not None:
            raise Invalid(reason, details={"job_id": "no name of a directory"})
        if not _ID.fullmatch(change_set_id):
            raise Invalid(f"{change_set_id!r} is no change set's id")
        return self._top / job_id / change_set_id

    def archive(self, job_id: str, change_set_id: str) -> Path:
        """Return where a change set's archive lies."""
        return self.directory(job_id, change_set_id).with_suffix(".tar.gz")

    async def write(
        self,
        job_id: str,
        change_set_id: str,
        make: Callable[[], ChangeTree],
        contents: Contents,
        *,
        at: datetime,
    ) -> ChangeTree:
        """Make a tree and write it and its archive, both durable; what was there is replaced."""
        directory = self.directory(job_id, change_set_id)
        return await self._do(write_change_set, directory, make, contents, at)

    async def _do(self, work: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        with on_disk("the change set cannot be written"):
            return await loop.run_in_executor(self._threads, partial(work, *arguments))


def write_change_set(
    directory: Path, make: Callable[[], ChangeTree], contents: Contents, at: datetime
) -> ChangeTree:
    """Make a tree and have the directory hold it and nothing else, its archive beside it."""
    tree = make()
    draft = directory.with_name(f".{directory.name}")
    packed = directory.with_name(f".{directory.name}.tar.gz")
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    for path, content in _entries(tree, contents):
        place = draft / path
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _write_file(place, content)
    with packed.open("wb") as target:
        write_archive(target, _entries(tree, contents), top=directory.name, at=at)
        target.flush()
        os.fsync(target.fileno())
    for folder in sorted(draft.rglob("*")):
        if folder.is_dir():
            sync(folder)
    sync(draft)
    shutil.rmtree(directory, ignore_errors=True)
    draft.rename(directory)
    packed.replace(directory.with_suffix(".tar.gz"))
    sync(directory.parent)
    sync(directory.parent.parent)
    return tree


def _entries(tree: ChangeTree, contents: Contents) -> Iterable[tuple[str, bytes]]:
    """Yield every file in the order of their paths, holding one content at a time."""
    for path in sorted((*tree.files, *tree.contents)):
        content = tree.files.get(path)
        if content is None:
            content = contents.get(tree.contents[path])
            if content is None:
                raise OSError(f"the content {tree.contents[path]} is no longer kept")
        yield path, content


def _write_file(place: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(place, flags, FILE_MODE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
