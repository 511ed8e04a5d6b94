"""Hosts and sandboxes to measure in tests."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from scheduler.errors import HostTimeout
from scheduler.hosts.calls import Calls
from scheduler.hosts.deadlines import Verb
from scheduler.model import HostHealth, HostResources, Sandbox, SandboxState

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

_HOST = HostResources(
    id="HST-1",
    name="alpha",
    address="alpha.example",
    updated_at=NOW,
    health=HostHealth.UP,
    total_cpus=8,
    limit_cpus=28,
    reserved_cpus=6,
    system_reserved_cpus=1,
    total_memory_mb=1024,
    limit_memory_mb=768,
    reserved_memory_mb=512,
    total_storage_mb=100,
    limit_storage_mb=90,
    reserved_storage_mb=10,
    observed_storage_available_mb=70,
    arch="x86_64",
    libvirt_version="9.0.0",
    observed_at=NOW,
    last_seen_at=NOW,
)
_SANDBOX = Sandbox(
    id="SBX-1",
    job_id="JOB-1",
    agent_id="agent",
    sandbox_name="box",
    base_image="debian.qcow2",
    network="default",
    state=SandboxState.CREATED,
    vcpus=1,
    memory_mb=512,
    storage_mb=1024,
    host_id="HST-1",
    created_at=NOW,
    updated_at=NOW,
)


def host(**changes: object) -> HostResources:
    """Return a host that is up and may take sandboxes."""
    return replace(_HOST, **changes)  # type: ignore[arg-type]


def sandbox(state: SandboxState, **changes: object) -> Sandbox:
    """Return a sandbox in `state`."""
    return replace(_SANDBOX, state=state, **changes)  # type: ignore[arg-type]


def called() -> Calls:
    """Return calls to that host, of which one succeeded and one failed."""
    calls = Calls()
    with calls.of("HST-1").counted(Verb.START) as spent:
        spent.seconds, spent.waited_seconds = 0.2, 0.01
    with suppress(HostTimeout), calls.of("HST-1").counted(Verb.INVENTORY) as spent:
        spent.seconds = 20.0
        raise HostTimeout("it does not answer")
    return calls
