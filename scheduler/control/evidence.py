"""What the verifier knows of a diff and of a clone: by records, kept manifests, and looking."""

from __future__ import annotations

from scheduler.changes.noise import DEFAULT_NOISE, NoiseRules
from scheduler.errors import NotFound
from scheduler.guests.connections import GuestConnections
from scheduler.guests.first_boot import FirstBoot, first_boot
from scheduler.guests.manifests import Manifests
from scheduler.model import Delta, Diff, HostResources, Manifest, Sandbox
from scheduler.store import Store


class RecordedEvidence:
    """What a diff was computed from, and what it found."""

    def __init__(self, store: Store, manifests: Manifests) -> None:
        self._store = store
        self._manifests = manifests

    async def delta_of(self, diff: Diff) -> Delta:
        """Return all that a diff found; raises `NotFound` for one that an older daemon made."""
        if diff.delta is None:
            raise NotFound(
                f"of diff {diff.id} only names are kept",
                remedy="compute it anew: sandboxctl diff",
            )
        return diff.delta

    async def manifests_of(self, diff: Diff) -> tuple[Manifest, Manifest]:
        """Return the manifests that a diff compares, be its snapshots there or not.

        Raises `NotFound` for a diff of an older daemon whose snapshots are gone.
        """
        refs = diff.manifests or (
            await self._manifest(diff, diff.from_snapshot),
            await self._manifest(diff, diff.to_snapshot),
        )
        before, after = [await self._manifests.get(ref) for ref in refs]
        return before, after

    def noise_of(self, diff: Diff) -> NoiseRules:
        """Return what does not count in a diff."""
        return DEFAULT_NOISE.with_paths(diff.noise)

    async def _manifest(self, diff: Diff, name: str) -> str:
        """Return a manifest of a diff that does not say which they are."""
        snapshot = await self._store.read(lambda tx: tx.snapshots.by_name(diff.sandbox_id, name))
        if snapshot.manifest_ref is None:
            raise NotFound(
                f"snapshot {name} of {diff.sandbox_id} has no manifest",
                remedy="make a snapshot while the guest runs and can be reached",
            )
        return snapshot.manifest_ref


class GuestOnlooker:
    """Looks at guests over SSH."""

    def __init__(self, guests: GuestConnections, manifests: Manifests) -> None:
        self._guests = guests
        self._manifests = manifests

    async def first_boot(self, sandbox: Sandbox, host: HostResources) -> FirstBoot:
        """Tell how far a guest's first boot is; raises `GuestUnreachable`."""
        async with self._guests.connected(sandbox, host) as connection:
            return await first_boot(connection)

    async def manifest_of(self, sandbox: Sandbox, host: HostResources) -> Manifest:
        """Take a guest's manifest; raises `GuestUnreachable`."""
        return await self._manifests.get(await self.take(sandbox, host))

    async def take(self, sandbox: Sandbox, host: HostResources, _snapshot: object = None) -> str:
        """Take and keep a guest's manifest; return what it is kept under."""
        async with self._guests.connected(sandbox, host) as connection:
            return await self._manifests.take(connection)
