"""What is told of images: how far each has come, which hosts hold it, who was made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler.errors import Conflict, NotFound
from scheduler.model import Image, ImageState, ReplicaState, Sandbox
from scheduler.store import Transaction

SETTLED = frozenset({ImageState.RECEIVING, ImageState.READY, ImageState.REFUSED})
"""States in which nothing more happens by itself."""
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReport:
    """One host's replica, for people."""

    host_name: str
    state: ReplicaState
    pinned: bool
    reason: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReport:
    """An image, how much of it has arrived, which hosts hold it and who was made from it."""

    id: str
    name: str
    digest: str | None
    state: ImageState
    format: str | None
    size_bytes: int
    virtual_bytes: int | None
    received_bytes: int
    source_host_id: str | None
    source_volume: str | None
    source_vm: str | None
    owner_sandbox_id: str | None
    """The sandbox whose disk it carries to another host; it goes with it."""
    owner_sandbox_name: str | None
    """That one's name, for as long as its record is kept."""
    actor: str
    reason: str | None
    created_at: datetime
    updated_at: datetime
    replicas: Sequence[ReplicaReport]
    clones: Sequence[str]
    """The ids of live sandboxes made from it."""


def report_of(tx: Transaction, image: Image, received_bytes: int) -> ImageReport:
    """Return an image with all that is recorded about it."""
    replicas = tuple(
        ReplicaReport(
            host_name=tx.hosts.get(replica.host_id).name,
            state=replica.state,
            pinned=replica.pinned,
            reason=replica.reason,
            updated_at=replica.updated_at,
        )
        for replica in tx.replicas.of_image(image.id)
    )
    return ImageReport(
        id=image.id,
        name=image.name,
        digest=image.digest,
        state=image.state,
        format=image.format,
        size_bytes=image.size_bytes,
        virtual_bytes=image.virtual_bytes,
        received_bytes=received_bytes,
        source_host_id=image.source_host_id,
        source_volume=image.source_volume,
        source_vm=image.source_vm,
        owner_sandbox_id=image.owner_sandbox_id,
        owner_sandbox_name=_owner_name(tx, image),
        actor=image.actor,
        reason=image.reason,
        created_at=image.created_at,
        updated_at=image.updated_at,
        replicas=replicas,
        clones=tuple(clone.id for clone in clones_of(tx, image)),
    )


def _owner_name(tx: Transaction, image: Image) -> str | None:
    if image.owner_sandbox_id is None:
        return None
    try:
        return tx.sandboxes.get(image.owner_sandbox_id).sandbox_name
    except NotFound:
        return None


def settled(report: ImageReport) -> bool:
    """Return whether nothing more happens to an image or its replicas by itself."""
    states = (ReplicaState.WANTED, ReplicaState.COPYING, ReplicaState.REMOVING)
    return report.state in SETTLED and not any(one.state in states for one in report.replicas)


def clones_of(tx: Transaction, image: Image, host_id: str | None = None) -> tuple[Sandbox, ...]:
    """Return who was made from an image; what was not proven yet has no clones."""
    proven = image.state in (ImageState.READY, ImageState.REMOVING) and image.digest is not None
    return tx.images.clones(image.digest or "", host_id) if proven else ()


def check_unused(tx: Transaction, image: Image, host_id: str | None = None) -> None:
    """Raise `Conflict`, naming them, while live sandboxes were made from an image."""
    clones = clones_of(tx, image, host_id)
    if clones:
        named = ", ".join(clone.sandbox_name for clone in clones[:_MOST_NAMED])
        more = f" and {len(clones) - _MOST_NAMED} more" if len(clones) > _MOST_NAMED else ""
        raise Conflict(
            f"image {image.name} is in use: {len(clones)} sandboxes were made from it: "
            f"{named}{more}",
            remedy="delete them first; their disks are what differs from it",
            details={"sandboxes": [clone.id for clone in clones[:100]]},
        )
