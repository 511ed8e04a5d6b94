"""What a host is asked to hold: values that name things, never XML and never paths.

A plan holds names only; the adapter resolves them to paths on the host it talks to, so a caller's
text can never choose a file there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.errors import Invalid
from scheduler.model.hosts import VirtType


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """A golden image in a host's pool, as its header and its pool tell; sizes in bytes."""

    name: str
    path: str
    format: str
    """`qcow2` or `raw`, from the image's own first bytes; never guessed by QEMU later."""
    capacity: int
    """What a guest sees as its disk's size."""
    physical: int
    modified: str | None = None
    """The file's modification time as the host tells it, opaque; None where hosts tell none."""

    @property
    def fingerprint(self) -> str:
        """Return what must stay the same for as long as a clone depends on this image."""
        return f"{self.format}:{self.capacity}:{self.physical}:{self.modified or '-'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReplica:
    """The shape of an image that a host is about to be given; sizes in bytes."""

    format: str
    size: int
    """Of the file."""
    capacity: int
    """What a guest sees as its disk's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainPlan:
    """A domain to define; the volumes named must exist in `pool` by then."""

    uuid: str
    name: str
    vcpus: int
    memory_mb: int
    mac: str
    network: str
    isolated: bool = False
    """No other isolated guest on that network reaches it."""
    virt_type: VirtType
    pool: str
    overlay: str
    """The volume that becomes the guest's disk."""
    layers: tuple[str, ...] = ()
    """The frozen volumes below it down to the golden image, the nearest first."""
    seed: str | None = None
    """The cloud-init volume; None where the host takes no uploads."""
    mark_document: Mapping[str, object]
    """What the ownership mark says; it must carry this domain's UUID as `domain_uuid`."""

    def __post_init__(self) -> None:
        """Raise Invalid for a name that no XML and no terminal could show."""
        for field in ("name", "network", "pool", "overlay", "seed"):
            text = getattr(self, field)
            _check_name(field, text)
        for layer in self.layers:
            _check_name("layers", layer)


def _check_name(field: str, text: str | None) -> None:
    if text is not None and not (text and text.isprintable()):
        raise Invalid(f"{field}: a name needs printable characters", details={field: text})
