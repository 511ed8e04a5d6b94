"""Machines on the hosts that are not ours: what an operator may want to clone sandboxes from.

They are read from the loops' listings and never touched. What no complete and fresh listing shows
is not there for sure, so a host that was not looked at lately lists nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scheduler.errors import Conflict, NotFound
from scheduler.model import HostResources, ObservedDomain
from scheduler.service.sightings import Sightings
from scheduler.store import Page, Store, Transaction


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


class SourceVMService:
    """What can be told of machines that are not ours."""

    def __init__(self, store: Store, *, sightings: Sightings) -> None:
        self._store = store
        self._sightings = sightings

    async def find(self, *, host: str | None, after: str | None, limit: int) -> Page[SourceReport]:
        """Return a page of them by host and name, those behind `after`, a cursor of a page."""
        behind = None if after is None else tuple(after.partition("/")[::2])
        hosts = await self._store.read(lambda tx: _hosts(tx, host))
        found: list[SourceReport] = []
        for one in hosts:
            for report in self._on(one):
                if behind is None or (report.host_name, report.name) > behind:
                    found.append(report)
                    if len(found) > limit:
                        return Page(items=tuple(found[:-1]), next_cursor=_cursor(found[-2]))
        return Page(items=tuple(found), next_cursor=None)

    async def get(self, host: str, name: str) -> SourceReport:
        """Return one by host and name; `Conflict` when nobody can tell now what is there."""
        (there,) = await self._store.read(lambda tx: _hosts(tx, host))
        for report in self._on(there):
            if report.name == name:
                return report
        if self._stale(there):
            raise Conflict(
                f"host {host} was not listed lately, so nobody can tell what is on it",
                remedy=f"see what keeps it: sandboxctl host show {host}",
                details={"health": there.health.value, "health_reason": there.health_reason},
            )
        raise NotFound(
            f"host {host} has no machine of this name that is not a sandbox",
            remedy=f"see those that it has: sandboxctl source list --host {host}",
        )

    def _on(self, host: HostResources) -> Iterator[SourceReport]:
        """Yield a host's, by name."""
        seen = self._sightings.of(host.id)
        if seen.latest is None or self._stale(host):
            return
        for domain in sorted(seen.latest.domains, key=lambda domain: domain.name):
            if domain.mark is None and not domain.forged:
                yield _report(host, domain, seen.age_seconds)

    def _stale(self, host: HostResources) -> bool:
        seen = self._sightings.of(host.id)
        return seen.latest is None or seen.age_seconds > self._sightings.stale_after_seconds


def _hosts(tx: Transaction, name: str | None) -> tuple[HostResources, ...]:
    if name is not None:
        return (tx.hosts.by_name(name),)
    return tuple(sorted(tx.hosts.all(), key=lambda host: host.name))


def _cursor(report: SourceReport) -> str:
    return f"{report.host_name}/{report.name}"


def _report(host: HostResources, domain: ObservedDomain, age_seconds: float) -> SourceReport:
    return SourceReport(
        host_name=host.name,
        name=domain.name,
        uuid=domain.uuid,
        state=domain.state.value,
        vcpus=domain.vcpus,
        memory_mb=domain.memory_mb,
        seen_seconds_ago=round(age_seconds, 1),
    )
