"""What a domain's mark says of its sandbox, written when it is defined and read by a rebuild.

It holds what only our database knew and the domain itself does not tell. Everything fits into 4 KiB
whatever was asked for, which is why SSH keys and user data are left out: the guest has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from scheduler.errors import Invalid
from scheduler.model import OnExpire, Readiness, Sandbox, Volume, VolumeRole

T = TypeVar("T")

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedSandbox:
    """A sandbox as its mark remembers it; memory and storage in MiB, durations in seconds."""

    sandbox_id: str
    domain_uuid: str
    agent_id: str
    job_id: str
    sandbox_name: str
    base_image: str
    base_fingerprint: str | None
    image_digest: str | None
    network: str
    isolation: bool
    mac: str | None
    vcpus: int
    memory_mb: int
    storage_mb: int
    labels: Mapping[str, str]
    ttl_seconds: int | None
    on_expire: OnExpire
    auto_start: bool
    provision_timeout_seconds: int
    ready: Readiness
    ssh_ca: str | None
    anti_affinity_group: str | None
    created_at: datetime
    pool: str
    volumes: Mapping[str, VolumeRole]
    """The volumes that were planned for it, by name."""


def mark_document(
    sandbox: Sandbox, volumes: Sequence[Volume], *, anti_affinity_group: str | None = None
) -> dict[str, object]:
    """Return what to sign into the mark of a sandbox with these planned volumes of one pool."""
    return {
        "format": FORMAT,
        "sandbox_id": sandbox.id,
        "domain_uuid": sandbox.domain_uuid,
        "agent_id": sandbox.agent_id,
        "job_id": sandbox.job_id,
        "sandbox_name": sandbox.sandbox_name,
        "base_image": sandbox.base_image,
        "base_fingerprint": sandbox.base_fingerprint,
        "image_digest": sandbox.image_digest,
        "network": sandbox.network,
        "isolation": sandbox.isolation,
        "mac": sandbox.mac,
        "vcpus": sandbox.vcpus,
        "memory_mb": sandbox.memory_mb,
        "storage_mb": sandbox.storage_mb,
        "labels": dict(sandbox.labels),
        "ttl_seconds": sandbox.ttl_seconds,
        "on_expire": sandbox.on_expire.value,
        "auto_start": sandbox.auto_start,
        "provision_timeout_seconds": sandbox.provision_timeout_seconds,
        "ready": sandbox.ready.value,
        "ssh_ca": sandbox.ssh_ca,
        "anti_affinity_group": anti_affinity_group,
        "created_at": sandbox.created_at.isoformat(),
        "pool": volumes[0].pool,
        "volumes": {volume.name: volume.role.value for volume in volumes},
    }


def read_mark(document: Mapping[str, object]) -> MarkedSandbox:
    """Return what a verified mark remembers; raises `Invalid` for one of another format."""
    read = _Reader(document)
    if read.the("format", int) != FORMAT:
        raise read.unreadable("format")
    return MarkedSandbox(
        sandbox_id=read.the("sandbox_id", str),
        domain_uuid=read.the("domain_uuid", str),
        agent_id=read.the("agent_id", str),
        job_id=read.the("job_id", str),
        sandbox_name=read.the("sandbox_name", str),
        base_image=read.the("base_image", str),
        base_fingerprint=read.maybe("base_fingerprint", str),
        image_digest=read.maybe("image_digest", str),
        network=read.the("network", str),
        isolation=read.maybe("isolation", bool) or False,
        mac=read.maybe("mac", str),
        vcpus=read.the("vcpus", int),
        memory_mb=read.the("memory_mb", int),
        storage_mb=read.the("storage_mb", int),
        labels=read.texts("labels"),
        ttl_seconds=read.maybe("ttl_seconds", int),
        on_expire=OnExpire(read.the("on_expire", str)),
        auto_start=read.the("auto_start", bool),
        provision_timeout_seconds=read.the("provision_timeout_seconds", int),
        ready=Readiness(read.maybe("ready", str) or Readiness.ADDRESS),
        ssh_ca=read.maybe("ssh_ca", str),
        anti_affinity_group=read.maybe("anti_affinity_group", str),
        created_at=datetime.fromisoformat(read.the("created_at", str)),
        pool=read.the("pool", str),
        volumes={name: VolumeRole(role) for name, role in read.texts("volumes").items()},
    )


def marked_volumes(document: Mapping[str, object]) -> frozenset[str]:
    """Return the names of the volumes that a verified mark lists, none if it lists them unread."""
    volumes = document.get("volumes")
    return frozenset(map(str, volumes)) if isinstance(volumes, Mapping) else frozenset()


class _Reader:
    """Reads fields of a signed document; what does not fit was written by another version."""

    def __init__(self, document: Mapping[str, object]) -> None:
        self._document = document

    def the(self, field: str, kind: type[T]) -> T:
        value = self._document.get(field)
        if type(value) is not kind:
            raise self.unreadable(field)
        return value

    def maybe(self, field: str, kind: type[T]) -> T | None:
        return None if self._document.get(field) is None else self.the(field, kind)

    def texts(self, field: str) -> Mapping[str, str]:
        texts: dict[str, object] = self.the(field, dict)
        return {str(key): str(value) for key, value in texts.items()}

    def unreadable(self, field: str) -> Invalid:
        return Invalid(
            f"the mark of {self._document.get('sandbox_id')} cannot be read: its {field} is "
            f"{self._document.get(field)!r}",
            remedy="it was written by another version of sandboxd; use that one for it",
            details={field: "unreadable"},
        )
