"""Golden images kept by the control node, and their replicas in the hosts' pools.

An image is named by the SHA-256 of its bytes and never changes. Its row says how far it has been
trusted, a replica's row how far a host has come in holding it: both are wishes first and proofs
later, so that a restarted daemon goes on from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

MIB = 2**20
DIGEST_PREFIX = "sha256:"


class ImageState(StrEnum):
    """How far an image has come; only READY ones are cloned, REFUSED ones never will be."""

    RECEIVING = "RECEIVING"
    """Its bytes are being uploaded."""
    FREEZING = "FREEZING"
    """The disk of a source VM, or of a sandbox that moves, is being copied on its host."""
    FETCHING = "FETCHING"
    """Its bytes are being read from a host's pool."""
    CHECKING = "CHECKING"
    """All of its bytes are here, and nobody trusts them yet."""
    READY = "READY"
    REFUSED = "REFUSED"
    REMOVING = "REMOVING"
    """Nothing may be built from it any more; its replicas go first."""


class ReplicaState(StrEnum):
    """How far a host has come; builds wait for READY."""

    WANTED = "wanted"
    COPYING = "copying"
    """A host call was committed: a part of it may be there."""
    READY = "ready"
    """The host gave back the image's own bytes."""
    REMOVING = "removing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One golden image; sizes in bytes."""

    id: str
    name: str
    digest: str | None = None
    """`sha256:` and 64 hex digits; what the uploader claims until the state is READY."""
    state: ImageState
    format: str | None = None
    """`qcow2` or `raw`, once it was checked."""
    size_bytes: int = 0
    virtual_bytes: int | None = None
    """What a guest sees as its disk's size, once it was checked; until then what a source VM's
    host said of its disk, which a copy of it may come to take."""
    source_host_id: str | None = None
    source_volume: str | None = None
    """The volume that it was read from; None for an upload."""
    source_vm: str | None = None
    """The source VM that it was made of, as HOST/NAME; `source_volume` is then a copy of ours."""
    owner_sandbox_id: str | None = None
    """The sandbox whose disk it carries to another host, and with which it goes; likewise."""
    actor: str
    reason: str | None = None
    """Why it was refused, or what keeps it from going on."""
    created_at: datetime
    updated_at: datetime

    @property
    def usable(self) -> bool:
        """Return whether sandboxes may be built from it."""
        return self.state is ImageState.READY

    @property
    def copied(self) -> bool:
        """Return whether `source_volume` is a copy of ours, which goes once it was taken in."""
        return self.source_vm is not None or self.owner_sandbox_id is not None

    @property
    def own_digest(self) -> str | None:
        """Return the digest that its bytes were found to have, which no other image has meanwhile.

        Until they were judged it is a claim, and after a refusal word of one: those own nothing.
        """
        judged = self.state is ImageState.CHECKING and self.format is not None
        owned = judged or self.state in (ImageState.READY, ImageState.REMOVING)
        return self.digest if owned else None

    @property
    def size_mb(self) -> int:
        """Return the MiB that a replica takes of a pool, rounded up."""
        return -(-self.size_bytes // MIB)

    @property
    def least_storage_mb(self) -> int:
        """Return the smallest disk in MiB that can be a clone of it."""
        return -(-(self.virtual_bytes or 0) // MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One image on one host; `volume` in `pool` is listed as ours from the first host call on."""

    image_id: str
    host_id: str
    pool: str
    volume: str
    state: ReplicaState = ReplicaState.WANTED
    pinned: bool = False
    """Asked for by an operator, who alone removes it."""
    attempts: int = 0
    reason: str | None = None
    """What the last attempt failed of."""
    retry_at: datetime | None = None
    fingerprint: str | None = None
    """What the volume looked like when it was proven."""
    generation: int = 1
    used_at: datetime
    created_at: datetime
    updated_at: datetime


def replica_volume(digest: str) -> str:
    """Return the name of an image's volume, the same in every pool."""
    return f"{REPLICA_PREFIX}{digest.removeprefix(DIGEST_PREFIX)}"


REPLICA_PREFIX = "image-"
