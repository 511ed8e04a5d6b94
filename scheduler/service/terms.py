"""The terms on which sandboxes are accepted: what is filled in, and how much is allowed."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from scheduler.config import Settings
from scheduler.model import Overhead
from scheduler.placement.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandTerms:
    """How long commands may take, how much of a stream is kept, how many run at once."""

    default_timeout_seconds: int = 600
    max_timeout_seconds: int = 86400
    output_bytes: int = 1 << 20
    input_mb: int = 4096
    per_sandbox: int = 8
    per_host: int = 32
    at_once: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTerms:
    """As whom source VMs are prepared, and how much a look at one may take."""

    ssh_user: str = "root"
    has_key: bool = False
    """Whether the daemon has a key to log in with."""
    inspection_seconds: int = 30
    max_inspection_seconds: int = 300
    output_bytes: int = 256 << 10
    per_source: int = 4
    at_once: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Set once by the daemon from its configuration; memory and storage in MiB."""

    cluster_id: UUID
    policy: Policy = Policy.SPREAD
    overhead: Overhead = field(default_factory=Overhead)
    stale_after_seconds: float = 60.0
    """Facts about a host older than this place nothing there."""
    default_vcpus: int = 2
    default_memory_mb: int = 2048
    default_storage_mb: int = 10240
    max_vcpus: int | None = None
    max_memory_mb: int | None = None
    max_storage_mb: int | None = None
    """When set, no sandbox may ask for more."""
    default_isolation: bool = False
    default_provision_timeout_seconds: int = 600
    default_ttl_seconds: int | None = None
    max_ttl_seconds: int | None = None
    """When set, a sandbox without a limit is given this one and longer ones are refused."""
    max_sandboxes_per_agent: int | None = None
    max_snapshots_per_sandbox: int = 8
    takes_manifests: bool = False
    """Whether guests are asked for manifests unless a caller says otherwise."""
    max_image_mb: int = 65536
    """The largest image that is taken in."""
    expected_mib_per_second: int = 40
    """What a copy of an image to a host is expected to take, until some were measured."""
    max_changes: int = 5000
    """So many changed paths a diff names."""
    ssh_certificate_seconds: int = 300
    """How long a certificate opens its sandbox for a new login."""
    retry_after_seconds: int = 15
    """What a caller is told to wait when there is no room."""
    commands: CommandTerms = field(default_factory=CommandTerms)
    sources: SourceTerms = field(default_factory=SourceTerms)


def terms_of(settings: Settings, cluster_id: UUID) -> Terms:
    """Return the terms that a configuration asks for."""
    return Terms(
        cluster_id=cluster_id,
        policy=Policy(settings.placement.policy),
        overhead=settings.placement.overhead,
        stale_after_seconds=float(settings.placement.stale_after_seconds),
        default_vcpus=settings.guests.default_vcpus,
        default_memory_mb=settings.guests.default_memory_mb,
        default_storage_mb=settings.guests.default_storage_mb,
        max_vcpus=settings.guests.max_vcpus,
        max_memory_mb=settings.guests.max_memory_mb,
        max_storage_mb=settings.guests.max_storage_mb,
        default_isolation=settings.guests.default_isolation,
        default_provision_timeout_seconds=settings.lifecycle.provision_timeout_seconds,
        default_ttl_seconds=settings.lifecycle.default_ttl_seconds,
        max_ttl_seconds=settings.lifecycle.max_ttl_seconds,
        max_sandboxes_per_agent=settings.placement.max_sandboxes_per_agent,
        max_snapshots_per_sandbox=settings.lifecycle.max_snapshots_per_sandbox,
        takes_manifests=True,
        max_image_mb=settings.images.max_size_mb,
        expected_mib_per_second=settings.images.expected_mib_per_second,
        max_changes=settings.changes.max_changes,
        ssh_certificate_seconds=settings.guests.ssh_certificate_seconds,
        retry_after_seconds=settings.placement.retry_after_seconds,
        commands=CommandTerms(**settings.commands.model_dump()),
        sources=SourceTerms(
            has_key=settings.sources.ssh_key is not None,
            **settings.sources.model_dump(exclude={"ssh_key"}),
        ),
    )
