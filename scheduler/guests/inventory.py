"""What a guest holds, asked over one connection: files below some roots, packages, services.

Everything is bounded (entries, bytes read, bytes answered, time), and whatever a bound or the guest
keeps from being seen becomes an omission of the manifest, never a silence. The guest is believed
about itself only: its answers are read strictly, and a file is what its digest says it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import asyncssh

from scheduler.clock import Clock
from scheduler.errors import Unavailable
from scheduler.guests.inventory_reader import (
    Listing,
    batches,
    odd,
    read_contents,
    read_digests,
    read_listing,
    read_odd_digests,
)
from scheduler.guests.inventory_script import CONTENTS, LISTING, MD5, ODD_SHA256, SHA256
from scheduler.guests.inventory_values import Draft, drafted
from scheduler.model import Manifest, Omission
from scheduler.signs_of_life import within

T = TypeVar("T")

_READ_BYTES = 1 << 18
_CONTENT_BATCH_BYTES = 4 << 20
_TAR_BYTES_A_FILE = 4096
_DIGEST_LINE_BYTES = 512
MOST_TOLD = 50
"""So many files that were not read are named; of the others the number is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Where to look, and how much of it at most."""

    roots: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    entries: int = 200_000
    file_bytes: int = 64 << 20
    """Larger files are listed, and not read."""
    read_bytes: int = 2 << 30
    """So much is read in the guest in all."""
    answer_bytes: int = 64 << 20
    seconds: float = 120.0


class Inventory:
    """Asks one guest; `threads` read the answers, so that the event loop goes on."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        bounds: Bounds,
        *,
        clock: Clock,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._connection = connection
        self._bounds = bounds
        self._clock = clock
        self._threads = threads
        self._names: Mapping[str, bytes] = {}
        self._ends_at = clock.monotonic() + bounds.seconds

    async def manifest(self) -> Manifest:
        """Return what the guest holds; raises `Unavailable` when the connection ends meanwhile."""
        taken_at = self._clock.now()
        roots = [one.encode() for one in self._bounds.roots]
        asked = b"".join(b"X%s\n" % _literally(one) for one in self._bounds.exclude)
        asked += b"".join(b"R%s\n" % one for one in roots)
        answer = await self._ask(LISTING, asked, self._bounds.answer_bytes)
        listing = await self._do(read_listing, answer.data, roots, self._bounds.entries)
        unfinished = self._unfinished(listing, answer.cut)
        draft = await self._do(drafted, listing)
        unread = await self._digest(draft)
        self._names = draft.names
        manifest = await self._do(draft.manifest, taken_at, self._bounds.roots)
        omissions = {*manifest.omissions, *unfinished, *unread, *self._excluded()}
        ordered = sorted(omissions, key=lambda one: (one.path, one.reason))
        return replace(manifest, omissions=tuple(ordered))

    async def contents(
        self, wanted: Sequence[tuple[str, int, str]]
    ) -> AsyncIterator[dict[str, bytes]]:
        """Yield contents by digest, in lots, of files of the manifest: path, size and digest each.

        A file that changed meanwhile is left out, and so is what comes too late.
        """
        self._ends_at = self._clock.monotonic() + self._bounds.seconds
        digests = frozenset(digest for _, _, digest in wanted)
        named = [(self._names[path], size) for path, size, _ in wanted if path in self._names]
        sizes = dict(named)
        for lot in batches(named, _CONTENT_BATCH_BYTES):
            size = sum(sizes[name] for name in lot)
            most = size + _TAR_BYTES_A_FILE * (len(lot) + 2) + sum(map(len, lot)) * 2
            answer = await self._ask(CONTENTS, _nul_separated(lot), most)
            yield await self._do(read_contents, answer.data, digests)
            if answer.cut == _TIME:
                return

    def _unfinished(self, listing: Listing, cut: str | None) -> list[Omission]:
        """Return an omission for each root of which something may be missing."""
        reason = cut
        if listing.full:
            reason = f"there are more than {self._bounds.entries} entries"
        elif reason is None and not listing.whole:
            reason = "the guest's answer made no sense from here on"
        told = [
            Omission(path=root, reason=_failure(listing, root.encode()))
            for root in self._bounds.roots
            if root.encode() in listing.failed
        ]
        return told + [
            Omission(path=root, reason=reason or "the guest did not list everything here")
            for root in self._bounds.roots
            if root.encode() not in listing.done | listing.failed
        ]

    def _excluded(self) -> list[Omission]:
        return [Omission(path=one, reason="excluded by [changes]") for one in self._bounds.exclude]

    async def _digest(self, draft: Draft) -> list[Omission]:
        """Have the files read, as many as the bounds allow; return what was not."""
        files = draft.files()
        chosen, unread = self._chosen(files)
        plain = [name for name in chosen if not odd(name)]
        strange = [name for name in chosen if odd(name)]
        owned = [name for name in plain if name in draft.packages.sums]
        if owned:
            answer = await self._ask(MD5, _nul_separated(owned), _digest_bytes(owned))
            draft.sums.update(read_digests(answer.data, owned, 32))
        for lot in batches([(name, 1) for name in plain], 20_000):
            answer = await self._ask(SHA256, _nul_separated(lot), _digest_bytes(lot))
            draft.digests.update(await self._do(read_digests, answer.data, lot, 64))
        if strange:
            answer = await self._ask(ODD_SHA256, _nul_separated(strange), _digest_bytes(strange))
            draft.digests.update(read_odd_digests(answer.data, strange))
        missed = [
            (name, "the guest did not give its digest")
            for name in chosen
            if name not in draft.digests
        ]
        return _told(draft, unread + missed)

    def _chosen(self, files: Mapping[bytes, int]) -> tuple[list[bytes], list[tuple[bytes, str]]]:
        left = self._bounds.read_bytes
        chosen: list[bytes] = []
        unread: list[tuple[bytes, str]] = []
        for name, size in files.items():
            if size > self._bounds.file_bytes:
                unread.append((name, f"it is larger than {self._bounds.file_bytes} bytes"))
            elif size > left:
                unread.append((name, f"{self._bounds.read_bytes} bytes had been read before it"))
            else:
                left -= size
                chosen.append(name)
        return chosen, unread

    async def _ask(self, command: str, data: bytes, most_bytes: int) -> _Answer:
        """Run a command and return what it writes, up to so many bytes and the end of all time."""
        received = bytearray()
        left = self._ends_at - self._clock.monotonic()
        if left <= 0:
            return _Answer(b"", _TIME)
        try:
            async with within(left):
                cut = await self._converse(command, data, most_bytes, received)
        except TimeoutError:
            cut = _TIME
        except (asyncssh.Error, OSError) as error:
            raise Unavailable(
                f"the guest's connection ended while it was asked what it holds: {error}",
                remedy="see whether the sandbox runs and answers SSH, then try again",
            ) from error
        return _Answer(bytes(received), cut)

    async def _converse(
        self, command: str, data: bytes, most_bytes: int, received: bytearray
    ) -> str | None:
        process = await self._connection.create_process(
            command, encoding=None, stderr=asyncssh.DEVNULL
        )
        try:
            process.stdin.write(data)
            process.stdin.write_eof()
            while block := await process.stdout.read(_READ_BYTES):
                received += block
                if len(received) > most_bytes:
                    return f"the answer is longer than {most_bytes} bytes"
        finally:
            process.close()
        return None

    async def _do(self, work: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(work, *arguments))


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was heard, and why that is not all."""

    data: bytes
    cut: str | None


_TIME = "the time for looking was over"


def _failure(listing: Listing, root: bytes) -> str:
    """Return why not all of a root was listed."""
    if listing.linked.get(root, 0) is None:
        return "this root is a link that leads to no directory"
    return "the guest could not list everything here"


def _told(draft: Draft, unread: Sequence[tuple[bytes, str]]) -> list[Omission]:
    """Return an omission for each file that was not read, the last of them for all further ones."""
    told = [
        Omission(path=draft.path(name), reason=f"its content was not read: {reason}")
        for name, reason in unread[:MOST_TOLD]
    ]
    if len(unread) > MOST_TOLD:
        more = f"; {len(unread) - MOST_TOLD} files after it were not read either"
        told[-1] = replace(told[-1], reason=told[-1].reason + more)
    return told


def _nul_separated(names: Collection[bytes]) -> bytes:
    return b"".join(name + b"\0" for name in names)


def _digest_bytes(names: Collection[bytes]) -> int:
    return sum(len(name) + _DIGEST_LINE_BYTES for name in names)


def _literally(path: str) -> bytes:
    """Return a path as `find -path` takes it for itself."""
    return "".join(f"\\{one}" if one in "*?[\\" else one for one in path).encode()
