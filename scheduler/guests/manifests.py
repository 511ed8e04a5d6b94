"""The manifests of guests and what their small files held, kept for diffs and change sets.

Contents that are secrets are never kept, by their place or by what they hold; of the others those
that are small are, as long as there is room. What is not kept is only not shown.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import asyncssh

from scheduler.changes.manifest_documents import from_bytes, to_bytes
from scheduler.changes.noise import DEFAULT_NOISE, NoiseRules
from scheduler.changes.secrets import secret_in
from scheduler.clock import Clock
from scheduler.config import Settings
from scheduler.errors import Unavailable
from scheduler.guests.inventory import Bounds, Inventory
from scheduler.guests.kept_files import KeptFiles
from scheduler.model import EntryKind, Manifest, ManifestEntry
from scheduler.statedir import on_disk

T = TypeVar("T")

GRACE_SECONDS = 6 * 3600.0
"""What was kept or looked at since then is left alone: its record may be on its way."""
_THREADS = 2
_DIGEST = re.compile(rb'"([0-9a-f]{64})"')
"""Whatever looks like a digest in a manifest is taken for one: rather too much is kept."""
_SEAM_BYTES = 65
"""What of one part may be the beginning of a digest that ends in the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a guest is looked at, and how much of that is kept."""

    bounds: Bounds
    content_bytes: int = 256 << 10
    """A file that is larger is compared, and its content not kept."""
    manifest_content_bytes: int = 32 << 20
    """All that is kept anew for one manifest."""
    total_content_bytes: int = 2 << 30
    """Beyond this nothing is kept anew until something is removed."""
    noise: NoiseRules = DEFAULT_NOISE
    """Of what is noise no content is kept."""


def limits_of(settings: Settings) -> Limits:
    """Return the limits that a configuration asks for."""
    changes = settings.changes
    return Limits(
        bounds=Bounds(
            roots=changes.roots,
            exclude=changes.exclude,
            entries=changes.max_entries,
            file_bytes=changes.max_file_mb << 20,
            read_bytes=changes.max_read_mb << 20,
            seconds=float(changes.manifest_seconds),
        ),
        content_bytes=changes.content_kb << 10,
        total_content_bytes=changes.contents_mb << 20,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """How many files were removed."""

    manifests: int
    contents: int


class Manifests:
    """Takes, keeps and finds manifests; belongs to the event loop's thread."""

    def __init__(self, state_dir: Path, clock: Clock, limits: Limits) -> None:
        self._manifests = KeptFiles(state_dir / "manifests")
        self.contents = KeptFiles(state_dir / "contents")
        self._clock = clock
        self._limits = limits
        self._threads = ThreadPoolExecutor(_THREADS, "manifests")

    @classmethod
    @asynccontextmanager
    async def open(cls, state_dir: Path, clock: Clock, limits: Limits) -> AsyncIterator[Self]:
        """Yield the manifests under the state directory."""
        manifests = cls(state_dir, clock, limits)
        try:
            yield manifests
        finally:
            manifests._threads.shutdown(wait=True, cancel_futures=True)

    async def take(self, connection: asyncssh.SSHClientConnection) -> str:
        """Look at a guest and keep what it holds; return what the manifest is kept under."""
        bounds = self._limits.bounds
        inventory = Inventory(connection, bounds, clock=self._clock, threads=self._threads)
        manifest = await inventory.manifest()
        await self._keep_contents(inventory, manifest)
        return await self.keep(manifest)

    async def keep(self, manifest: Manifest) -> str:
        """Keep a manifest durably, and return what it is kept under."""
        return await self.work(lambda: self._manifests.keep(to_bytes(manifest)))

    async def get(self, ref: str) -> Manifest:
        """Return a manifest; raises `Unavailable` when it is gone or damaged."""
        await self.work(self._manifests.claim, ref)
        data = await self.work(self._manifests.get, ref)
        if data is None:
            raise Unavailable(
                f"the manifest {ref[:12]} is not under the state directory any more, or is damaged",
                remedy="make a new snapshot: manifests are taken with them",
            )
        return await self.work(from_bytes, data)

    async def content(self, sha256: str) -> bytes | None:
        """Return what a file held, None when that was not kept."""
        return await self.work(self.contents.get, sha256)

    async def collect(self, refs: Collection[str], contents: Collection[str]) -> Collected:
        """Remove manifests that no record names, and contents that nothing kept names.

        What somebody keeps meanwhile is spared, although its record is not among these yet. Raises
        `Unavailable` when the disk will not have it.
        """
        before = self._clock.now().timestamp() - GRACE_SECONDS
        manifests = await self._collect_manifests(refs, before)
        removed = await self._collect_contents(refs, contents, before)
        return Collected(manifests=manifests, contents=removed)

    async def kept_bytes(self) -> Mapping[str, int]:
        """Return how much room manifests and contents take."""
        return {
            "manifests": await self.work(self._manifests.total_bytes),
            "contents": await self.work(self.contents.total_bytes),
        }

    async def work(self, function: Callable[..., T], *arguments: object) -> T:
        """Run what takes long on one of the threads; `Unavailable` where the disk refuses."""
        loop = asyncio.get_running_loop()
        with on_disk("what is kept of guests cannot be used"):
            return await loop.run_in_executor(self._threads, partial(function, *arguments))

    async def _collect_manifests(self, refs: Collection[str], before: float) -> int:
        idle = await self.work(partial(self._manifests.untouched, before=before))
        for ref in refs:
            idle.pop(ref, None)
        return await self.work(partial(self._manifests.remove, idle.values(), before=before))

    async def _collect_contents(
        self, refs: Collection[str], contents: Collection[str], before: float
    ) -> int:
        """One manifest is looked through at a time: others need the threads too."""
        idle = await self.work(partial(self.contents.untouched, before=before))
        for digest in contents:
            idle.pop(digest, None)
        for ref in sorted(refs):
            if idle:
                await self.work(self._spare, ref, idle)
        return await self.work(partial(self.contents.remove, idle.values(), before=before))

    def _spare(self, ref: str, idle: dict[str, Path]) -> None:
        """Take what a manifest names out of `idle`."""
        seam = b""
        for part in self._manifests.parts(ref):
            part = seam + part
            for found in _DIGEST.findall(part):
                idle.pop(found.decode("ascii"), None)
            seam = part[-_SEAM_BYTES:]

    async def _keep_contents(self, inventory: Inventory, manifest: Manifest) -> None:
        wanted = await self.work(self._wanted, manifest)
        places = {digest: path for path, _, digest in wanted}
        async for lot in inventory.contents(wanted):
            await self.work(self._keep_all, lot, places)

    def _keep_all(self, contents: dict[str, bytes], places: dict[str, str]) -> None:
        for digest, content in contents.items():
            if secret_in(places[digest], content) is None:
                self.contents.keep(content)

    def _wanted(self, manifest: Manifest) -> list[tuple[str, int, str]]:
        """Return the files whose content is to be kept and is not yet: path, size and digest."""
        left = self._limits.total_content_bytes - self.contents.total_bytes()
        left = min(left, self._limits.manifest_content_bytes)
        hidden = [one for one in manifest.entries if secret_in(one.path, b"") is not None]
        places = {one.path for one in hidden}
        # What is nothing is no secret, wherever else it lies.
        secret = {one.sha256 for one in hidden if one.size}
        wanted: dict[str, tuple[str, int, str]] = {}
        for one in manifest.entries:
            digest = one.sha256
            if digest is None or digest in wanted or digest in secret or one.path in places:
                continue
            if not self._small(one):
                continue
            if self.contents.claim(digest):
                continue
            if one.size > left:
                left = 0  # and what is kept already is claimed all the same
                continue
            left -= one.size
            wanted[digest] = (one.path, one.size, digest)
        return list(wanted.values())

    def _small(self, entry: ManifestEntry) -> bool:
        return (
            entry.kind is EntryKind.FILE
            and entry.literal
            and entry.size <= self._limits.content_bytes
            and self._limits.noise.rule_for(entry.path) is None
        )
