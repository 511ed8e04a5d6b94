"""What is told of source VMs: the machine as it was last seen, and how far it is prepared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from scheduler.errors import Conflict
from scheduler.model import DomainState, HostResources, ObservedDomain, SourceVM
from scheduler.sources.preparations import PURPOSES, Preparation, StepName, from_json, unprepared


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """A machine as it was last seen; memory is the most it may have, in MiB."""

    host_name: str
    name: str
    uuid: str
    state: str
    vcpus: int
    memory_mb: int
    seen_seconds_ago: float
    id: str | None = None
    """What anything that is recorded of it goes by; null when nothing is."""
    prepared: bool = False
    unprepared_because: str | None = None
    prepared_at: datetime | None = None
    ca_fingerprint: str | None = None
    host_key: str | None = None
    preparation: Preparation | None = None
    """The last one, step by step, and what it found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """A step that a preparation would take, and what it does."""

    name: StepName
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparationPlan:
    """What a preparation would do to a machine, and what it would not get past."""

    host_name: str
    name: str
    user: str
    steps: tuple[PlannedStep, ...]
    blockers: tuple[str, ...]


def report_of(
    host: HostResources,
    domain: ObservedDomain,
    age_seconds: float,
    source: SourceVM | None,
    authority: str | None,
) -> SourceReport:
    """Return what is told of a machine; `authority` is the fingerprint of the one that signs."""
    why: str | None = "it was not prepared"
    if source is not None:
        why = unprepared(source, authority=authority, domain_uuid=domain.uuid)
    return SourceReport(
        host_name=host.name,
        name=domain.name,
        uuid=domain.uuid,
        state=domain.state.value,
        vcpus=domain.vcpus,
        memory_mb=domain.memory_mb,
        seen_seconds_ago=round(age_seconds, 1),
        id=None if source is None else source.id,
        prepared=why is None,
        unprepared_because=why,
        prepared_at=None if source is None else source.prepared_at,
        ca_fingerprint=None if source is None else source.ca_fingerprint,
        host_key=None if source is None else source.host_key,
        preparation=None if source is None else from_json(source.prepare_json),
    )


def plan_of(report: SourceReport, user: str, *, has_key: bool) -> PreparationPlan:
    """Return what preparing a machine would do."""
    blockers = []
    if report.state != DomainState.RUNNING:
        blockers.append(f"it is {report.state}, and nothing of others is started by sandboxd")
    if not has_key:
        blockers.append("this daemon has no key for source VMs: [sources] ssh_key")
    if report.preparation is not None and report.preparation.running:
        blockers.append("it is being prepared already")
    return PreparationPlan(
        host_name=report.host_name,
        name=report.name,
        user=user,
        steps=tuple(
            PlannedStep(name=name, purpose=PURPOSES[name].format(user=user)) for name in StepName
        ),
        blockers=tuple(blockers),
    )


def check_running(report: SourceReport) -> None:
    """Raise `Conflict` for a machine that nobody can log in to."""
    if report.state != DomainState.RUNNING:
        raise Conflict(
            f"{report.host_name}/{report.name} is {report.state}, so nobody can log in to it",
            remedy="start it on its host: sandboxd starts no machine that is not its own",
            details={"state": report.state},
        )


def check_prepared(report: SourceReport) -> None:
    """Raise `Conflict` for a machine that counts as unprepared."""
    if not report.prepared:
        raise Conflict(
            f"{report.host_name}/{report.name} is not prepared: {report.unprepared_because}",
            remedy=f"prepare it: sandboxctl source prepare {report.host_name} {report.name}",
            details={"unprepared_because": report.unprepared_because},
        )
