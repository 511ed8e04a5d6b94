"""A refused placement as an error: what was wanted, who refused and why, what would help."""

from __future__ import annotations

from scheduler.errors import CapacityExhausted, ConstraintImpossible, SandboxdError
from scheduler.model import Decision

MOST_HOSTS = 256
"""How many hosts an error tells about; the stored decision has them all."""


def refusal_of(
    decision: Decision, smallest_change: str | None, *, stored: bool, retry_after_seconds: int
) -> SandboxdError:
    """Return the error that tells why no host was chosen, and its decision's id if it is stored."""
    details: dict[str, object] = {
        **({"decision_id": decision.id} if stored else {}),
        "demand": decision.demand,
        "refusals": decision.refusals,
        "nearest": decision.nearest,
        "hosts": decision.hosts[:MOST_HOSTS],
        "hosts_left_out": max(0, len(decision.hosts) - MOST_HOSTS),
        "smallest_change": smallest_change,
    }
    if decision.outcome == ConstraintImpossible.code:
        return ConstraintImpossible(
            f"no host of this fleet can ever take this sandbox: {_why(decision)}",
            remedy=smallest_change or "change the request, or add a host that fits it",
            details=details,
        )
    return CapacityExhausted(
        f"no host has room for this sandbox now: {_why(decision)}",
        remedy=smallest_change or "wait until sandboxes end, or add a host",
        details={**details, "retry_after": retry_after_seconds},
    )


def _why(decision: Decision) -> str:
    if not decision.refusals:
        return "the fleet has no hosts"
    counted = ", ".join(f"{name} {count}" for name, count in decision.refusals.items())
    nearest = f"; nearest: {decision.nearest[0]['message']}" if decision.nearest else ""
    return f"hosts refused by {counted}{nearest}"
