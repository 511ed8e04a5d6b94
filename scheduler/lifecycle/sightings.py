"""What is known of a sandbox's domain right now: present, absent or unknown.

Absence is a conclusion, not a missing answer. It takes two complete listings that both began after
the last host call ended (I6); everything short of that is unknown, and unknown changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from scheduler.model import DomainState, Inventory, ObservedDomain, Sandbox, StateReason


class Doubt(StrEnum):
    """Why nothing can be concluded."""

    NOT_OBSERVED = "not_observed"
    """No listing is recent enough; the next polls will tell."""
    HOST_UNREACHABLE = "host_unreachable"
    FOREIGN_DOMAIN = "foreign_domain"
    """Another domain, without our valid mark, carries the sandbox's UUID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The host has the domain, and its mark proves that it is this sandbox's."""

    domain: ObservedDomain


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """The host is proven not to have the domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Nothing may be concluded; `reason` is a sentence for people."""

    reason: str
    doubt: Doubt = Doubt.NOT_OBSERVED


Seen = Present | Absent | Unknown


def sight(
    sandbox: Sandbox,
    inventory: Inventory | None,
    previous: Inventory | None,
    *,
    mutated_at: float | None,
    unreachable: str | None = None,
) -> Seen:
    """Return what the newest complete listings of its host say of the sandbox's domain.

    `inventory` and `previous` are the last two complete listings, None when there is none that is
    still fresh; `mutated_at` is the monotonic time at which our last host call for this sandbox
    ended, None when this process has made none; `unreachable` says why the host does not answer.
    """
    if unreachable is not None:
        return Unknown(
            reason=f"host {sandbox.host_name} does not answer: {unreachable}",
            doubt=Doubt.HOST_UNREACHABLE,
        )
    if inventory is None:
        return Unknown(reason=f"host {sandbox.host_name} has not been listed completely yet")
    if not _tells(sandbox, inventory, mutated_at):
        return Unknown(reason="no listing of the host has begun since our last call to it ended")
    domain = inventory.domain(sandbox.domain_uuid)
    if domain is not None:
        return witness(sandbox, domain)
    confirmed = (
        previous is not None
        and previous.begun_at < inventory.begun_at
        and _tells(sandbox, previous, mutated_at)
        and previous.domain(sandbox.domain_uuid) is None
    )
    if confirmed:
        return Absent()
    return Unknown(reason="the domain is missing from one listing; a second one must confirm it")


def witness(sandbox: Sandbox, domain: ObservedDomain) -> Seen:
    """Return what a domain with the sandbox's UUID proves: presence only with the valid mark."""
    if domain.mark is None or domain.mark.sandbox_id != sandbox.id:
        return Unknown(
            reason=f"domain {domain.name!r} has this sandbox's UUID but not our valid mark",
            doubt=Doubt.FOREIGN_DOMAIN,
        )
    return Present(domain=domain)


def transient(domain: ObservedDomain) -> bool:
    """Return whether the domain is in a passing state that says nothing of what comes next."""
    if domain.state is DomainState.PAUSED:
        return domain.reason is StateReason.TRANSIENT
    return domain.state is DomainState.UNKNOWN


def _tells(sandbox: Sandbox, inventory: Inventory, mutated_at: float | None) -> bool:
    """Return whether a listing is of the sandbox's host and newer than our last call."""
    if inventory.host_id != sandbox.host_id:
        return False
    return mutated_at is None or inventory.begun_at > mutated_at
