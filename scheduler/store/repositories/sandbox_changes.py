"""What a transition may change beside the state, when it is refused, and what follows from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypedDict

from scheduler.errors import Conflict
from scheduler.lifecycle import transitions
from scheduler.model import (
    Condition,
    DesiredState,
    Event,
    HostFailure,
    IpSource,
    Phase,
    Sandbox,
    SandboxState,
)


class SandboxChanges(TypedDict, total=False):
    """The fields a transition may write; what is absent keeps its value."""

    desired_state: DesiredState
    phase: Phase | None
    phase_at: datetime | None
    attempts: int
    retry_at: datetime | None
    expires_at: datetime | None
    ttl_seconds: int | None
    running_at: datetime | None
    queued_at: datetime | None
    conditions: tuple[Condition, ...]
    ip_source: IpSource | None
    ip_seen_at: datetime | None
    ip_gateway: str | None
    host_id: str | None
    host_name: str | None
    host_address: str | None
    network: str
    failed_hosts: tuple[HostFailure, ...]
    domain_uuid: str | None
    mac: str | None
    image_digest: str | None
    base_fingerprint: str | None
    ssh_ca: str | None
    ssh_seen_at: datetime | None
    decision_id: str | None
    base_image: str
    move_asked_at: datetime | None
    move_to: str | None
    move_reason: str | None
    move_drain_id: str | None
    moved_at: datetime | None


_EVENT_KINDS = (
    ("state", "sandbox.state"),
    ("desired_state", "sandbox.desired"),
    ("host_id", "sandbox.moved"),
    ("expires_at", "sandbox.lease"),
    ("conditions", "sandbox.condition"),
    ("reason_code", "sandbox.reason"),
)
"""A change of the first of these that changed names the event; others are no news to anybody.

One that is on another host is told as such beside its change of state.
"""

_EACH = frozenset({"state", "host_id"})

_DECIDED_BY = (
    "state",
    "desired_state",
    "expires_at",
    "host_id",
    "move_asked_at",
    "reason_code",
    "reason_message",
)
"""A change of any of these is another revision: whoever read what was there may decide otherwise.

What polls see (addresses, conditions) and how far the work has come are none of them: they change
by themselves, and If-Match would never hold.
"""


def checked(
    sandbox: Sandbox, expected: SandboxState | Collection[SandboxState], new: SandboxState
) -> None:
    """Raise `Conflict` unless `sandbox` is in an expected state and may become `new`."""
    wanted = (expected,) if isinstance(expected, SandboxState) else expected
    if sandbox.state not in wanted:
        raise Conflict(
            f"sandbox {sandbox.id} is {sandbox.state}, not {' or '.join(sorted(wanted))}",
            remedy="Read it again and decide anew.",
            details={"state": str(sandbox.state), "expected": sorted(map(str, wanted))},
        )
    transitions.check(sandbox.state, new)
    if new is SandboxState.DESTROYED:
        raise Conflict(
            f"sandbox {sandbox.id} can only be buried, together with the release of what it held",
            remedy="Ask for desired state DESTROYED; the record follows when absence is proven.",
        )


def revised(old: Sandbox, new: Sandbox) -> Sandbox:
    """Return `new` at the next revision, if anything differs by which its users decide."""
    if all(getattr(old, name) == getattr(new, name) for name in _DECIDED_BY):
        return new
    return replace(new, revision=old.revision + 1)


def journalled(
    old: Sandbox,
    new: Sandbox,
    *,
    at: datetime,
    actor: str,
    evidence: Mapping[str, object],
) -> tuple[Event, ...]:
    """Return the events of a change; none when nobody but the loops would notice it."""
    changed = [(field, kind) for field, kind in _EVENT_KINDS if _differs(old, new, field)]
    told = [one for one in changed if one[0] in _EACH] or changed[:1]
    return tuple(
        Event(
            at=at,
            kind=kind,
            actor=actor,
            sandbox_id=new.id,
            host_id=new.host_id,
            reason_code=new.reason_code,
            message=new.reason_message or "",
            evidence={
                **evidence,
                "from": _shown(getattr(old, field)),
                "to": _shown(getattr(new, field)),
            },
        )
        for field, kind in told
    )


def _differs(old: Sandbox, new: Sandbox, field: str) -> bool:
    return bool(getattr(old, field) != getattr(new, field))


def _shown(value: object) -> object:
    if isinstance(value, tuple):
        return [one.kind for one in value]
    return None if value is None else str(value)
