"""What the mark says is read back whole, whatever was asked for; what is not ours is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import Invalid
from scheduler.lifecycle.mark_documents import mark_document, marked_volumes, read_mark
from scheduler.model import OnExpire, Readiness, Sandbox, Volume, VolumeRole
from tests.lifecycle.samples import NOW, UUID, sandbox

WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=63)


def volumes(owner: str = "SBX-1") -> tuple[Volume, Volume]:
    overlay = Volume(
        owner=owner,
        host_id="HST-1",
        pool="fast",
        name=f"{owner.lower()}.qcow2",
        role=VolumeRole.OVERLAY,
        created_at=NOW,
    )
    seed = Volume(
        owner=owner,
        host_id="HST-1",
        pool="fast",
        name=f"{owner.lower()}-seed.iso",
        role=VolumeRole.SEED,
        created_at=NOW,
    )
    return overlay, seed


@given(
    labels=st.dictionaries(WORDS, WORDS, max_size=4),
    ttl=st.none() | st.integers(1, 10**8),
    on_expire=st.sampled_from(OnExpire),
    auto_start=st.booleans(),
    group=st.none() | WORDS,
    fingerprint=st.none() | WORDS,
    created_at=st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1)),  # noqa: DTZ001
)
def test_every_field_is_read_back_as_it_was(
    *,
    labels: dict[str, str],
    ttl: int | None,
    on_expire: OnExpire,
    auto_start: bool,
    group: str | None,
    fingerprint: str | None,
    created_at: datetime,
) -> None:
    original = sandbox(
        labels=labels,
        ttl_seconds=ttl,
        on_expire=on_expire,
        auto_start=auto_start,
        base_fingerprint=fingerprint,
        created_at=created_at,
        ready=Readiness.SSH,
        ssh_ca="SHA256:abc",
        mac="52:54:00:00:00:01",
    )
    marked = read_mark(mark_document(original, volumes(), anti_affinity_group=group))
    for field in (
        "agent_id",
        "job_id",
        "sandbox_name",
        "base_image",
        "base_fingerprint",
        "network",
        "mac",
        "vcpus",
        "memory_mb",
        "storage_mb",
        "labels",
        "ttl_seconds",
        "on_expire",
        "auto_start",
        "provision_timeout_seconds",
        "ready",
        "ssh_ca",
        "created_at",
    ):
        assert getattr(marked, field) == getattr(original, field), field
    assert (marked.sandbox_id, marked.domain_uuid) == ("SBX-1", UUID)
    assert (marked.anti_affinity_group, marked.pool) == (group, "fast")
    assert marked.volumes == {
        "sbx-1.qcow2": VolumeRole.OVERLAY,
        "sbx-1-seed.iso": VolumeRole.SEED,
    }


def test_the_mark_has_every_field_that_is_not_the_state_of_a_sandbox() -> None:
    """A field added to the record must be thought about: remembered, observed or let go."""
    remembered = set(mark_document(sandbox(), volumes())) | {"id"}
    observed = {"state", "ip_address", "ip_source", "ip_seen_at", "host_id", "host_name"}
    observed |= {"host_address", "phase", "phase_at", "attempts", "retry_at", "conditions"}
    observed |= {"failed_hosts", "ssh_seen_at", "ip_gateway"}
    observed |= {"reason_code", "reason_message", "desired_state"}
    begun_anew = {"expires_at", "queued_at", "running_at", "updated_at", "deleted_at"}
    begun_anew |= {"generation", "revision"}
    let_go = {"ssh_public_keys", "user_data_bytes", "decision_id", "image_digest"}
    let_go |= {"source_vm", "remove_secrets"}  # its overlay and its seed are made already
    let_go |= {"move_asked_at", "move_to", "move_reason", "move_drain_id", "moved_at"}
    fields = set(Sandbox.__dataclass_fields__)
    assert fields - remembered - observed - begun_anew - let_go == set()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("format", None),
        ("agent_id", None),
        ("vcpus", "2"),
        ("vcpus", True),
        ("auto_start", 1),
        ("ttl_seconds", "never"),
        ("volumes", ["sbx-1.qcow2"]),
    ],
)
def test_another_version_s_mark_is_refused_by_name(field: str, value: object) -> None:
    document = {**mark_document(sandbox(), volumes()), field: value}
    with pytest.raises(Invalid, match=f"SBX-1 cannot be read: its {field}") as refused:
        read_mark(document)
    assert refused.value.remedy


def test_the_volumes_of_a_mark_are_found_without_reading_the_rest() -> None:
    names = marked_volumes({"volumes": {"sbx-1.qcow2": "overlay"}, "format": 7})
    assert names == {"sbx-1.qcow2"}
    assert marked_volumes({"volumes": "all of them"}) == frozenset()
    assert marked_volumes({}) == frozenset()
