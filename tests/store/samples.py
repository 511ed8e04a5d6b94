"""Entities to store: valid ones by name, and any whatever for properties."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from scheduler.model import (
    Allocation,
    ChangeDiff,
    ChangeSet,
    Command,
    Console,
    Decision,
    Diff,
    Drain,
    HostResources,
    Image,
    ImageState,
    Inspection,
    PackageInfo,
    Playbook,
    PlaybookRun,
    PlaybookTask,
    Publication,
    Replica,
    Sandbox,
    SandboxPlay,
    SandboxState,
    Snapshot,
    SnapshotKind,
    SourceVM,
    Volume,
    VolumeRole,
)
from scheduler.placement.limits import with_limits
from tests.clocks import START

T = TypeVar("T")

_numbers = count(1)


def later(seconds: float) -> datetime:
    """The start of the tests' time and so many seconds."""
    return START + timedelta(seconds=seconds)


def sandbox(id: str = "SBX-1", **changes: Any) -> Sandbox:
    given: dict[str, Any] = {
        "id": id,
        "job_id": "JOB-1",
        "agent_id": "agent",
        "sandbox_name": f"name-of-{id.lower()}",
        "base_image": "base.qcow2",
        "network": "default",
        "state": SandboxState.CREATED,
        "vcpus": 2,
        "memory_mb": 1024,
        "storage_mb": 10_240,
        "created_at": START,
        "updated_at": START,
    }
    return Sandbox(**given | changes)


def host(id: str = "HST-1", **changes: Any) -> HostResources:
    given: dict[str, Any] = {
        "id": id,
        "name": f"name-of-{id.lower()}",
        "address": "192.0.2.1",
        "total_cpus": 8,
        "total_memory_mb": 65_536,
        "total_storage_mb": 1_000_000,
        "ratio_cpu": 1.0,
        "updated_at": START,
        "created_at": START,
    }
    return with_limits(HostResources(**given | changes))


def allocation(sandbox_id: str = "SBX-1", host_id: str = "HST-1", **changes: Any) -> Allocation:
    given: dict[str, Any] = {
        "sandbox_id": sandbox_id,
        "host_id": host_id,
        "pool": "default",
        "vcpus": 2,
        "memory_mb": 1200,
        "storage_mb": 10_240,
        "claimed_at": START,
    }
    return Allocation(**given | changes)


def volume(owner: str = "SBX-1", host_id: str = "HST-1", **changes: Any) -> Volume:
    given: dict[str, Any] = {
        "owner": owner,
        "host_id": host_id,
        "pool": "default",
        "name": f"{owner.lower()}.qcow2",
        "role": VolumeRole.OVERLAY,
        "created_at": START,
    }
    return Volume(**given | changes)


def image(id: str = "IMG-1", **changes: Any) -> Image:
    given: dict[str, Any] = {
        "id": id,
        "name": f"name-of-{id.lower()}",
        "digest": f"sha256:{'0' * 64}",
        "state": ImageState.READY,
        "format": "qcow2",
        "size_bytes": 10 * 2**20,
        "virtual_bytes": 64 * 2**20,
        "actor": "uid:0",
        "created_at": START,
        "updated_at": START,
    }
    return Image(**given | changes)


def replica(image_id: str = "IMG-1", host_id: str = "HST-1", **changes: Any) -> Replica:
    given: dict[str, Any] = {
        "image_id": image_id,
        "host_id": host_id,
        "pool": "default",
        "volume": f"image-{'0' * 64}",
        "used_at": START,
        "created_at": START,
        "updated_at": START,
    }
    return Replica(**given | changes)


def drain(id: str = "DRN-1", **changes: Any) -> Drain:
    given: dict[str, Any] = {
        "id": id,
        "host_id": "HST-1",
        "host_name": "alpha",
        "actor": "uid:0",
        "started_at": START,
    }
    return Drain(**given | changes)


def decision(id: str = "DEC-1", **changes: Any) -> Decision:
    given: dict[str, Any] = {
        "id": id,
        "sandbox_id": "SBX-1",
        "outcome": "placed",
        "policy": "spread",
        "created_at": START,
    }
    return Decision(**given | changes)


def snapshot(id: str = "SNP-1", **changes: Any) -> Snapshot:
    given: dict[str, Any] = {
        "id": id,
        "sandbox_id": "SBX-1",
        "name": f"name-of-{id.lower()}",
        "kind": SnapshotKind.EXTERNAL,
        "ref": "layer-1",
        "created_at": START,
    }
    return Snapshot(**given | changes)


def diff(id: str = "DIF-1", **changes: Any) -> Diff:
    given: dict[str, Any] = {
        "id": id,
        "sandbox_id": "SBX-1",
        "from_snapshot": "a",
        "to_snapshot": "b",
        "diff_json": ChangeDiff(packages_added=(PackageInfo(name="nginx", version="1"),)),
        "created_at": START,
    }
    return Diff(**given | changes)


def change_set(id: str, **changes: Any) -> ChangeSet:
    given: dict[str, Any] = {
        "id": id,
        "job_id": "JOB-1",
        "sandbox_id": "SBX-1",
        "diff_id": "DIF-1",
        "path_ansible": "/changes/JOB-1/ansible",
        "path_puppet": "/changes/JOB-1/puppet",
        "created_at": START,
    }
    return ChangeSet(**given | changes)


def command(id: str = "CMD-1", **changes: Any) -> Command:
    given: dict[str, Any] = {
        "id": id,
        "sandbox_id": "SBX-1",
        "command": "uname -a",
        "started_at": START,
    }
    return Command(**given | changes)


def console(sandbox_id: str = "SBX-1", **changes: Any) -> Console:
    given: dict[str, Any] = {"sandbox_id": sandbox_id, "boot_at": START, "updated_at": START}
    return Console(**given | changes)


def publication(id: str = "PUB-1", **changes: Any) -> Publication:
    given: dict[str, Any] = {
        "id": id,
        "job_id": "JOB-1",
        "repo_url": "https://forge.example/infra.git",
        "branch": f"sandbox/{id}",
        "created_at": START,
        "updated_at": START,
    }
    return Publication(**given | changes)


def playbook(id: str = "PBK-1", **changes: Any) -> Playbook:
    given: dict[str, Any] = {
        "id": id,
        "name": f"name-of-{id.lower()}",
        "created_at": START,
        "updated_at": START,
    }
    return Playbook(**given | changes)


def task(id: str = "TSK-1", **changes: Any) -> PlaybookTask:
    given: dict[str, Any] = {
        "id": id,
        "playbook_id": "PBK-1",
        "position": next(_numbers),
        "name": "install nginx",
        "module": "ansible.builtin.apt",
        "created_at": START,
    }
    return PlaybookTask(**given | changes)


def playbook_run(id: str = "RUN-1", **changes: Any) -> PlaybookRun:
    given: dict[str, Any] = {
        "id": id,
        "playbook_id": "PBK-1",
        "playbook_name": "web",
        "revision": 3,
        "yaml": "- hosts: all\n",
        "check": True,
        "timeout_seconds": 60,
        "plays": (SandboxPlay(sandbox_id="SBX-1", sandbox_name="one"),),
        "actor": "tester",
        "asked_at": START,
        "updated_at": START,
    }
    return PlaybookRun(**given | changes)


def source_vm(id: str = "SVM-1", **changes: Any) -> SourceVM:
    given: dict[str, Any] = {
        "id": id,
        "name": "golden",
        "created_at": START,
        "updated_at": START,
    }
    return SourceVM(**given | changes)


def inspection(id: str = "INS-1", **changes: Any) -> Inspection:
    given: dict[str, Any] = {
        "id": id,
        "source_id": "SVM-1",
        "host_name": "alpha",
        "name": "golden",
        "argv": ("cat", "/etc/hosts"),
        "timeout_seconds": 30,
        "actor": "uid:0",
        "asked_at": START,
    }
    return Inspection(**given | changes)


# Any entity whatever, from its type alone.

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
_MOMENT = st.datetimes(timezones=st.just(UTC))
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # JSON escapes what a column could not hold.
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
_SCALARS: Mapping[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(-(1 << 63), (1 << 63) - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=12),
    datetime: _MOMENT,
    object: _JSON,
}


def any_of(kind: type[T], **fixed: Any) -> st.SearchStrategy[T]:
    """Any entity of a type, whatever its fields hold, except those that are fixed."""
    hints = get_type_hints(kind)
    own = {one.name: _any(hints[one.name]) for one in fields(kind)}  # type: ignore[arg-type]
    given = {name: st.just(value) for name, value in fixed.items()}
    return st.builds(kind, **own | given)


def _any(hint: Any) -> st.SearchStrategy[Any]:
    if hint in _SCALARS:
        return _SCALARS[hint]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return any_of(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return st.one_of(*(st.none() if one is type(None) else _any(one) for one in inner))
    if origin is tuple:
        return st.lists(_any(inner[0]), max_size=3).map(tuple)
    if origin is Mapping:
        return st.dictionaries(_any(inner[0]), _any(inner[1]), max_size=3)
    raise TypeError(f"no strategy for {hint}")
