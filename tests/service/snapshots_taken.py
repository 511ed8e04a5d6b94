"""Snapshots with manifests, recorded as the loops would have."""

from __future__ import annotations

from datetime import timedelta

from scheduler.ids import Prefix, new_id
from scheduler.model import Manifest, PackageInfo, Sandbox, ServiceState, Snapshot, SnapshotKind
from tests.changes.manifests import directory, file, link, manifest
from tests.service.planes import Plane


async def snapshot(
    plane: Plane, sandbox: Sandbox, name: str, seen: Manifest | None, *, after_s: float = 0
) -> Snapshot:
    """Record a snapshot, with what was seen of the guest then."""
    taken = Snapshot(
        id=new_id(Prefix.SNAPSHOT),
        sandbox_id=sandbox.id,
        name=name,
        kind=SnapshotKind.EXTERNAL,
        ref=name,
        created_at=plane.clock.now() + timedelta(seconds=after_s),
        manifest_ref=None if seen is None else await plane.manifests.keep(seen),
    )
    return await plane.store.submit(lambda tx: tx.snapshots.add(taken))


async def before_and_after(plane: Plane, sandbox: Sandbox) -> None:
    """Record snapshots `before` and `after` that differ in all that can differ."""
    keep = plane.manifests.contents.keep
    old, new = keep(b"one\ntwo\n"), keep(b"one\n\x1b[31m2\n")
    before = manifest(
        file("/etc/motd", sha256=old, size=8),
        file("/etc/gone"),
        file("/srv/app.log"),
        packages=(PackageInfo(name="up", version="1"),),
        services=(ServiceState(name="nginx", enabled=False, active=False),),
    )
    after = manifest(
        file("/etc/motd", sha256=new, size=13, mode=0o600),
        directory("/etc/new"),
        link("/etc/new/link", "../motd"),
        file("/srv/app.log", "b"),
        file("/etc/up.conf", package="up", pristine=True),
        file("/etc/resolv.conf"),
        packages=(PackageInfo(name="hello", version="1"), PackageInfo(name="up", version="2")),
        services=(ServiceState(name="nginx", enabled=True, active=True),),
    )
    await snapshot(plane, sandbox, "before", before)
    await snapshot(plane, sandbox, "after", after, after_s=60)
