"""A change set's directory, copied file by file into numbered ones: git never sees its names.

The directory was written by us, but from what guests hold; so nothing but directories and plain
files is read, no link is followed, and all of it is bounded.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scheduler.errors import RemoteRefused

DEEPEST = 32
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a change set may be."""

    most_files: int = 2000
    most_bytes: int = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of a change set: its path below the directory, and where its copy is."""

    path: str
    executable: bool
    copy: Path


def copied(directory: Path, into: Path, bounds: Bounds) -> tuple[File, ...]:
    """Copy a directory's files; raises `RemoteRefused` for what may not be published."""
    files: list[File] = []
    left = bounds.most_bytes
    try:
        top = os.open(directory, _FLAGS | os.O_DIRECTORY)
    except OSError as error:
        raise _unpublishable(f"its directory cannot be read: {error.strerror}") from None
    try:
        for path, descriptor in _walked(top, "", DEEPEST):
            copy = into / str(len(files))
            try:
                if len(files) >= bounds.most_files:
                    raise _unpublishable(f"it has more than {bounds.most_files} files")
                mode = os.fstat(descriptor).st_mode
                left -= _copy(descriptor, copy, left)
            finally:
                os.close(descriptor)
            files.append(File(path=path, executable=bool(mode & 0o100), copy=copy))
    finally:
        os.close(top)
    if not files:
        raise _unpublishable("it has no files")
    return tuple(files)


def _walked(directory: int, prefix: str, depth: int) -> Iterator[tuple[str, int]]:
    """Yield every file with a descriptor that whoever takes it closes; in order."""
    if not depth:
        raise _unpublishable(f"its directories nest deeper than {DEEPEST}")
    for name in sorted(os.listdir(directory)):
        path = f"{prefix}{name}"
        if not _publishable(name):
            raise _unpublishable(f"{path!a} is no name that every system can hold")
        try:
            descriptor = os.open(name, _FLAGS, dir_fd=directory)
        except OSError as error:
            raise _unpublishable(f"{path} cannot be read: {error.strerror}") from None
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            yield path, descriptor
        elif stat.S_ISDIR(mode):
            try:
                yield from _walked(descriptor, f"{path}/", depth - 1)
            finally:
                os.close(descriptor)
        else:
            os.close(descriptor)
            raise _unpublishable(f"{path} is neither a file nor a directory")


def _publishable(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return name.isprintable() and "\\" not in name and name.lower().rstrip(". ") != ".git"


def _copy(descriptor: int, copy: Path, left: int) -> int:
    size = 0
    with copy.open("xb") as file:
        while chunk := os.read(descriptor, 2**20):
            size += len(chunk)
            if size > left:
                raise _unpublishable("it is larger than may be published")
            file.write(chunk)
    return size


def _unpublishable(why: str) -> RemoteRefused:
    return RemoteRefused(
        f"the change set cannot be published: {why}",
        reason="change_set_unpublishable",
        remedy="look at its directory; make the change set anew from its diff",
    )
