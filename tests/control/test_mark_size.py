"""The largest sandbox that may be asked for still fits into its mark."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from scheduler.hosts.marks import MARK_LIMIT_BYTES, Keyring
from scheduler.lifecycle.mark_documents import mark_document, read_mark
from scheduler.model import Mark, OnExpire, Sandbox, SandboxState, Volume, VolumeRole
from scheduler.service.requests import CreateSandbox
from scheduler.validation.fields import (
    LONGEST_TTL_SECONDS,
    MOST_LABEL_CHARACTERS,
    MOST_LABELS,
    MOST_MEMORY_MB,
    MOST_STORAGE_MB,
    MOST_VCPUS,
)

CLUSTER = UUID("0e2b9a34-64a0-4d5e-8f6a-3f1d6f2b7c55")
ID = f"SBX-{'Z' * 26}"
UUID_TEXT = "118918d4-1948-5170-83c1-c35854a3d51b"
LATEST = datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def fattest() -> tuple[Sandbox, tuple[Volume, ...], str]:
    """The largest request that validation lets through, as it would be recorded."""
    size = MOST_LABEL_CHARACTERS // MOST_LABELS
    labels = {f"{i:02}{'k' * (size // 2 - 2)}": "v" * (size // 2) for i in range(MOST_LABELS)}
    request = CreateSandbox(
        base_image="i" * 200,
        agent_id="a" * 128,
        job_id="j" * 128,
        sandbox_name="n" * 63,
        network="w" * 63,
        vcpus=MOST_VCPUS,
        memory_mb=MOST_MEMORY_MB,
        storage_mb=MOST_STORAGE_MB,
        labels=labels,
        anti_affinity_group="g" * 128,
        ttl_seconds=LONGEST_TTL_SECONDS,
        provision_timeout_seconds=86400,
    )
    sandbox = Sandbox(
        id=ID,
        job_id=str(request.job_id),
        agent_id=request.agent_id,
        sandbox_name=str(request.sandbox_name),
        base_image=request.base_image,
        base_fingerprint=f"qcow2:{2**60}:{2**60}:{LATEST.timestamp():.9f}",
        network=str(request.network),
        state=SandboxState.CREATED,
        vcpus=MOST_VCPUS,
        memory_mb=MOST_MEMORY_MB,
        storage_mb=MOST_STORAGE_MB,
        labels=request.labels,
        ttl_seconds=request.ttl_seconds,
        on_expire=OnExpire.DESTROY,
        ssh_ca=f"SHA256:{'+' * 43}",
        created_at=LATEST,
        updated_at=LATEST,
        domain_uuid=UUID_TEXT,
        mac="52:54:00:ff:ff:ff",
    )
    names = {
        f"{ID.lower()}.qcow2": VolumeRole.OVERLAY,
        f"{ID.lower()}-seed.iso": VolumeRole.SEED,
    }
    volumes = tuple(
        Volume(owner=ID, host_id="H", pool="p" * 63, name=name, role=role, created_at=LATEST)
        for name, role in names.items()
    )
    return sandbox, volumes, str(request.anti_affinity_group)


def test_the_largest_sandbox_fits_into_its_mark() -> None:
    sandbox, volumes, group = fattest()
    keyring = Keyring([b"k" * 32], str(CLUSTER))
    xml = keyring.sign(mark_document(sandbox, volumes, anti_affinity_group=group))
    assert len(xml.encode()) < MARK_LIMIT_BYTES * 0.85, "leave room for what comes later"
    mark = keyring.read(xml, UUID_TEXT)
    assert isinstance(mark, Mark)
    assert read_mark(mark.document).labels == sandbox.labels
