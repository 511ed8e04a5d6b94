"""What carries our mark or our name without a live record, and what may be done about it.

A tombstone proves that a domain was ours and should be gone, so it is destroyed after two sightings
and some age, within a budget. Without a record at all nobody can tell a lost database from a lost
domain: it is reported, and an operator decides.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from scheduler.lifecycle.mark_documents import marked_volumes
from scheduler.model import Inventory, ObservedDomain
from scheduler.model.images import REPLICA_PREFIX


class OrphanKind(StrEnum):
    """What was found."""

    DOMAIN = "domain"
    VOLUME = "volume"


class OrphanCode(StrEnum):
    """Why nothing live stands for it."""

    NO_RECORD = "no_record"
    TOMBSTONED = "tombstoned"
    STRAY_COPY = "stray_copy"
    FORGED_MARK = "forged_mark"
    UNLISTED_VOLUME = "unlisted_volume"


_WHY: Mapping[OrphanCode, str] = {
    OrphanCode.NO_RECORD: "it has our mark, but there is no record",
    OrphanCode.TOMBSTONED: "its sandbox was destroyed, and it is there again",
    OrphanCode.STRAY_COPY: "its sandbox is recorded on another host",
    OrphanCode.FORGED_MARK: "it carries a mark of ours that does not verify",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many destroys that nobody asked for are allowed, and when the last ones were."""

    a_pass: int = 5
    an_hour: int = 50
    pass_seconds: float = 0.0
    """How long a pass takes that judges a fleet host by host; 0 when each judgement is a pass."""
    spent: tuple[datetime, ...] = ()

    def left(self, now: datetime) -> int:
        """Return how many more are allowed now.

        What was spent at a time still to come, before the clock was set back, counts for the hour
        and for no pass, which could last as long as the step.
        """
        this_hour = sum(at > now - timedelta(hours=1) for at in self.spent)
        begun_at = now - timedelta(seconds=self.pass_seconds)
        this_pass = sum(begun_at < at <= now for at in self.spent)
        return max(0, min(self.a_pass - this_pass, self.an_hour - this_hour))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """What is known of one host: two listings and the names of the volumes we recorded there."""

    inventory: Inventory
    previous: Inventory | None = None
    listed_volumes: frozenset[str] = field(default_factory=frozenset)
    condemned: frozenset[str] = field(default_factory=frozenset)
    """The destroyed sandboxes whose remains here are recorded and being removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestroyOrphan:
    """Remove a domain whose sandbox was destroyed: its tombstone proves it."""

    host_id: str
    domain_uuid: str
    name: str
    sandbox_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOrphan:
    """Tell an operator; nothing is touched."""

    host_id: str
    kind: OrphanKind
    name: str
    reason_code: str
    message: str
    domain_uuid: str | None = None
    sandbox_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldDestroys:
    """The budget is used up: `held` destroys wait, and somebody should look why."""

    held: int
    message: str


OrphanStep = DestroyOrphan | ReportOrphan | HoldDestroys
Rationed = tuple[tuple[DestroyOrphan, ...], HoldDestroys | None]
"""The destroys that a budget allows, and what to tell of the others, if there are any."""

MIN_AGE_SECONDS = 900
VOLUME_PREFIX = "sbx-"
"""How the names of our volumes begin; it is a pattern, never a proof."""
_REPLICA_NAME = re.compile(rf"{REPLICA_PREFIX}[0-9a-f]{{64}}")
_VOLUME_NAME = re.compile(r"(sbx-[0-9a-z]{26})(-[a-z0-9]+)*\.[a-z0-9]+")


def orphans(
    hosts: Collection[HostView],
    *,
    live: Mapping[str, Collection[str]],
    tombstones: Mapping[str, datetime],
    now: datetime,
) -> tuple[DestroyOrphan | ReportOrphan, ...]:
    """Return what to do about everything of ours that no live record stands for.

    `live` maps each live sandbox to the hosts on which it may be (where it has an allocation);
    `tombstones` maps destroyed sandboxes to the time they were buried. The destroys come first, the
    oldest burial's foremost, and are yet to be rationed.
    """
    found = [step for view in hosts for step in _of_host(view, live, tombstones, now)]
    reports = [step for step in found if isinstance(step, ReportOrphan)]
    destroys = sorted(
        (step for step in found if isinstance(step, DestroyOrphan)),
        key=lambda step: (tombstones[step.sandbox_id], step.sandbox_id, step.host_id),
    )
    return (*destroys, *reports)


def rationed(destroys: Collection[DestroyOrphan], budget: Budget, now: datetime) -> Rationed:
    """Return which destroys the budget allows now: the foremost.

    To be asked in the transaction that records them, as many hosts are judged side by side.
    """
    left = budget.left(now)
    held = len(destroys) - left
    if held <= 0:
        return tuple(destroys), None
    hold = HoldDestroys(
        held=held,
        message=f"{held} domains of destroyed sandboxes reappeared beyond the budget of "
        f"{budget.a_pass} a pass and {budget.an_hour} an hour; they are left alone for now",
    )
    return tuple(destroys)[:left], hold


def _of_host(
    view: HostView,
    live: Mapping[str, Collection[str]],
    tombstones: Mapping[str, datetime],
    now: datetime,
) -> Iterator[DestroyOrphan | ReportOrphan]:
    for domain in view.inventory.domains:
        step = _of_domain(view, domain, live, tombstones, now)
        if step is not None:
            yield step
    yield from _of_volumes(view)


def code_of(
    domain: ObservedDomain,
    host_id: str,
    live: Mapping[str, Collection[str]],
    tombstones: Mapping[str, datetime],
) -> OrphanCode | None:
    """Return why a domain of this host is an orphan; None when it is not, or is not ours."""
    if domain.forged:
        return OrphanCode.FORGED_MARK
    if domain.mark is None:
        return None
    sandbox_id = domain.mark.sandbox_id
    if sandbox_id in live:
        return None if host_id in live[sandbox_id] else OrphanCode.STRAY_COPY
    return OrphanCode.TOMBSTONED if sandbox_id in tombstones else OrphanCode.NO_RECORD


def told_of(domain: ObservedDomain, code: OrphanCode) -> str:
    """Return a sentence for people on an orphaned domain."""
    return f"domain {domain.name!r}: {_WHY[code]}"


def unlisted_volumes(inventory: Inventory, listed: Collection[str]) -> tuple[str, ...]:
    """Return the volumes that are named like ours and that neither a record nor a mark lists."""
    pool = inventory.pool
    marks = [domain.mark.document for domain in inventory.domains if domain.mark is not None]
    marked = frozenset[str]().union(*map(marked_volumes, marks))
    return tuple(
        volume.name
        for volume in (() if pool is None else pool.volumes)
        if _like_ours(volume.name) and volume.name not in {*listed, *marked}
    )


def _like_ours(volume: str) -> bool:
    return volume.startswith(VOLUME_PREFIX) or _REPLICA_NAME.fullmatch(volume) is not None


def owner_named(volume: str) -> str | None:
    """Return the id of the sandbox after which a volume is named: a hint, never a proof."""
    match = _VOLUME_NAME.fullmatch(volume)
    return None if match is None else match[1].upper()


def _of_domain(
    view: HostView,
    domain: ObservedDomain,
    live: Mapping[str, Collection[str]],
    tombstones: Mapping[str, datetime],
    now: datetime,
) -> DestroyOrphan | ReportOrphan | None:
    host_id = view.inventory.host_id
    code = code_of(domain, host_id, live, tombstones)
    if code is None:
        return None
    if code is not OrphanCode.TOMBSTONED or domain.mark is None:
        return _report(host_id, domain, code)
    sandbox_id = domain.mark.sandbox_id
    if sandbox_id in view.condemned:
        return None
    if not _aged(tombstones[sandbox_id], now) or not _seen_before(view, domain):
        return None
    return DestroyOrphan(
        host_id=host_id, domain_uuid=domain.uuid, name=domain.name, sandbox_id=sandbox_id
    )


def _aged(buried_at: datetime, now: datetime) -> bool:
    """Return whether a burial is long past.

    One that is still to come was before the clock was set back: nobody can tell how long ago, and
    waiting for it could take as long as the step, so that the two sightings alone decide.
    """
    age = now - buried_at
    return age < timedelta() or age >= timedelta(seconds=MIN_AGE_SECONDS)


def _seen_before(view: HostView, domain: ObservedDomain) -> bool:
    previous = view.previous
    return (
        previous is not None
        and previous.host_id == view.inventory.host_id
        and previous.begun_at < view.inventory.begun_at
        and any(other.uuid == domain.uuid and other.mark for other in previous.domains)
    )


def _report(host_id: str, domain: ObservedDomain, code: OrphanCode) -> ReportOrphan:
    return ReportOrphan(
        host_id=host_id,
        kind=OrphanKind.DOMAIN,
        name=domain.name,
        reason_code=code,
        message=told_of(domain, code),
        domain_uuid=domain.uuid,
        sandbox_id=None if domain.mark is None else domain.mark.sandbox_id,
    )


def _of_volumes(view: HostView) -> Iterator[ReportOrphan]:
    for name in unlisted_volumes(view.inventory, view.listed_volumes):
        yield ReportOrphan(
            host_id=view.inventory.host_id,
            kind=OrphanKind.VOLUME,
            name=name,
            reason_code=OrphanCode.UNLISTED_VOLUME,
            message=f"volume {name!r} is named like ours, but no record lists it",
        )
