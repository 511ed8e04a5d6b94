"""Who may write which of a host's fields: the configuration's, and a poll's."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict

from scheduler.model import HostHealth, HostResources, VirtType

CONFIGURED = (
    "address",
    "transport",
    "uri",
    "ssh_user",
    "ssh_port",
    "ssh_key",
    "ssh_known_hosts",
    "labels",
    "pool",
    "network",
    "virt_type",
    "system_reserved_cpus",
    "system_reserved_memory_mb",
    "system_reserved_storage_mb",
    "ratio_cpu",
    "ratio_memory",
    "ratio_storage",
    "max_sandboxes",
    "max_concurrent_builds",
)
"""What the configuration file, or an operator's edit, decides about a host."""


class HostFacts(TypedDict, total=False):
    """What a poll may write; what is absent keeps its value."""

    health: HostHealth
    health_reason: str | None
    health_since: datetime | None
    total_cpus: int
    total_memory_mb: int
    total_storage_mb: int
    unmanaged_cpus: int
    unmanaged_memory_mb: int
    unmanaged_storage_mb: int
    host_uuid: str | None
    refused_host_uuid: str | None
    libvirt_version: str | None
    hypervisor_version: str | None
    arch: str | None
    cpu_model: str | None
    proven_virt_type: VirtType | None
    observed_networks: tuple[str, ...]
    observed_images: tuple[str, ...]
    observed_pool_active: bool
    observed_storage_available_mb: int
    observed_at: datetime | None
    last_seen_at: datetime | None


def configured(host: HostResources) -> dict[str, Any]:
    """Return the host's configured fields and their values."""
    return {name: getattr(host, name) for name in CONFIGURED}
