"""What an audit tells: findings in the records, orphans on the hosts, and how far it could see."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from scheduler.lifecycle.orphans import OrphanCode, OrphanKind
from scheduler.model import DomainState, Resources


class FindingCode(StrEnum):
    """What does not add up, orphans aside."""

    LEDGER_MISCOUNT = "ledger_miscount"
    """A host's counters are not the sum of its allocations."""
    OVERCOMMITTED = "overcommitted"
    """A limit shrank below what was reserved; nothing is evicted."""
    ALLOCATION_MISSING = "allocation_missing"
    ALLOCATION_UNOWNED = "allocation_unowned"
    DOMAIN_MISSING = "domain_missing"
    DOMAIN_RENAMED = "domain_renamed"
    FOREIGN_DOMAIN = "foreign_domain"
    """Somebody else's domain has a sandbox's UUID."""
    VOLUME_MISSING = "volume_missing"
    LEFTOVER = "leftover"
    """What a destroyed sandbox left behind is being removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that does not add up, and what to do about it."""

    code: FindingCode
    host_id: str
    host_name: str
    message: str
    remedy: str
    sandbox_id: str | None = None
    subject: str | None = None
    """The domain's UUID or the volume's name."""
    healable: bool = False
    """Whether healing mends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """Something like ours on a host that nothing live stands for, and what may be done with it."""

    code: OrphanCode
    kind: OrphanKind
    host_id: str
    host_name: str
    name: str
    message: str
    remedy: str
    domain_uuid: str | None = None
    domain_state: DomainState | None = None
    sandbox_id: str | None = None
    verbs: tuple[str, ...] = ()
    """What an operator may ask for: `adopt`, `reap`."""
    healable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAudit:
    """How far one host could be judged, and what others use of it."""

    host_id: str
    host_name: str
    health: str
    audited: bool
    reason: str | None = None
    """Why it was not audited, or not wholly."""
    seen_at: datetime | None = None
    age_seconds: float | None = None
    """How old the listing is that it was judged by."""
    domains: int = 0
    foreign_domains: int = 0
    unmanaged: Resources = field(default_factory=Resources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that comparing records and listings brought to light."""

    findings: tuple[Finding, ...]
    orphans: tuple[Orphan, ...]
    hosts: tuple[HostAudit, ...]
