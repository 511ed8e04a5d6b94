"""A change set as one file to hand on: a tar archive whose bytes depend on what is in it alone."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable
from datetime import datetime
from typing import BinaryIO

FILE_MODE = 0o644


def write_archive(
    target: BinaryIO, entries: Iterable[tuple[str, bytes]], *, top: str, at: datetime
) -> None:
    """Write files, by their path below a directory `top`, as of one moment; owned by nobody.

    They come one by one in the order of their paths, so that no more than one is held in memory.
    """
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=target, compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path, content in entries:
            member = tarfile.TarInfo(f"{top}/{path}")
            member.size, member.mode, member.mtime = len(content), FILE_MODE, int(at.timestamp())
            archive.addfile(member, io.BytesIO(content))
