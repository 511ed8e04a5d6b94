"""The fleet as columns: what every decision scans, kept in memory by one owner, never the truth.

Rows stand in order of the hosts' names, so that the first of equal scores, the one `argmax` finds,
is the first name. What hosts have beside numbers (images, labels, networks ...) is asked as a
predicate and the answers are remembered as a column, kept up to date from then on: the second time
such a filter is a vector operation, too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from scheduler.errors import NotFound
from scheduler.model import HostResources, Resources
from scheduler.placement.column import BoolColumn, Column, FloatColumn, IntColumn
from scheduler.placement.scratch import Scratch

Asked = TypeVar("Asked", bound=Hashable)
Predicate = Callable[[HostResources, Asked], bool]

UNLIMITED = 2**62
"""The limit on sandboxes of a host that has none."""
NEVER = float("-inf")
"""When a host was seen that was not seen yet."""
MOST_ANSWERS = 256
"""Columns of remembered answers; a user may ask for any image, so they are bounded."""

_NO_GROUPS: Mapping[str, Collection[str]] = MappingProxyType({})


class Fleet:
    """Hosts and what is free on them, a row a host."""

    free: IntColumn
    """vCPUs, MiB of memory, MiB of storage and sandboxes that may still be claimed."""
    amounts: tuple[IntColumn, ...]
    """The rows of `free`, each cut once for all decisions."""
    limit: IntColumn
    """The same four of an empty host."""
    share: FloatColumn
    """free / limit of the three resources; 0 where the limit is 0."""
    inverse: FloatColumn
    """1 / limit of the three resources; 0 where the limit is 0."""
    seen: FloatColumn
    """Unix time of the last observation."""
    scratch: Scratch
    memory: dict[Hashable, object]
    """What a scan found out from the records alone; emptied when a record changes."""

    def __init__(self) -> None:
        self._keys: list[tuple[str, str]] = []
        self._hosts: list[HostResources] = []
        self._names: dict[str, str] = {}
        self._holders: dict[str, set[str]] = {}
        self._images: dict[str, set[str]] = {}
        self._barring: set[str] = set()
        self._records: tuple[HostResources, ...] | None = None
        self.memory = {}
        self._answers: dict[tuple[Predicate[Any], Hashable], Column[np.bool_]] = {}
        self._without: dict[str, Column[np.bool_]] = {}
        self._holding: dict[str, Column[np.bool_]] = {}
        self._free = Column(np.zeros((4, 0), np.int64))
        self._limit = Column(np.zeros((4, 0), np.int64))
        self._share = Column(np.zeros((3, 0)))
        self._inverse = Column(np.zeros((3, 0)))
        self._seen = Column(np.zeros(0))
        self._cut()

    @classmethod
    def of(
        cls, hosts: Iterable[HostResources], groups: Mapping[str, Collection[str]] = _NO_GROUPS
    ) -> Fleet:
        """Return the fleet of `hosts`; `groups` maps host ids to anti-affinity groups there."""
        fleet = cls()
        for host in sorted(hosts, key=_key):
            fleet._open(len(fleet), host)
            fleet._write(len(fleet) - 1, host)
        fleet._cut()
        for host_id, names in groups.items():
            for name in names:
                fleet._holders.setdefault(name, set()).add(host_id)
        return fleet

    def __len__(self) -> int:
        return len(self._hosts)

    def put(self, host: HostResources) -> None:
        """Add a host, or replace what is known of it, claims included, by its record."""
        if self._names.get(host.id, host.name) != host.name:
            self._close(self._row(host.id))
        if host.id not in self._names:
            self._open(bisect_left(self._keys, _key(host)), host)
            self._cut()
        self._write(self._row(host.id), host)

    def drop(self, host_id: str) -> None:
        """Forget a host and the groups on it."""
        self._close(self._row(host_id))
        self._cut()
        for group in [name for name, holders in self._holders.items() if host_id in holders]:
            self._leave(group, host_id)

    def claim(self, host_id: str, resources: Resources, group: str | None = None) -> None:
        """Take a sandbox's `resources` (overhead included) off what is free, once committed."""
        row = self._row(host_id)
        self.free[:, row] -= _amounts(resources)
        self._share_out(row)
        if group is not None:
            self._holders.setdefault(group, set()).add(host_id)
            self._note(group, row)

    def release(self, host_id: str, resources: Resources, group: str | None = None) -> None:
        """Give a sandbox's `resources` back, once its release is committed."""
        row = self._row(host_id)
        self.free[:, row] += _amounts(resources)
        self._share_out(row)
        if group is not None:
            self._leave(group, host_id)
            self._note(group, row)

    def host(self, host_id: str) -> HostResources:
        """Return the host with what is reserved now."""
        return self._with_claims(self._row(host_id))

    def hosts(self) -> Sequence[HostResources]:
        """Return every host in order of name, with what is reserved now."""
        return [self._with_claims(row) for row in range(len(self))]

    @property
    def records(self) -> tuple[HostResources, ...]:
        """Return the hosts row by row as they were put: without the claims made since."""
        if self._records is None:
            self._records = tuple(self._hosts)
        return self._records

    def row_named(self, name: str) -> int | None:
        """Return the row of the host with this name."""
        row = bisect_left(self._keys, (name, ""))
        return row if row < len(self._keys) and self._keys[row][0] == name else None

    def without(self, group: str) -> BoolColumn:
        """Return which hosts hold no sandbox of the anti-affinity group, remembered likewise."""
        column = self._without.get(group)
        if column is None:
            if len(self._without) >= MOST_ANSWERS:
                self._without.clear()
            holders = self._holders.get(group, ())
            column = Column(np.array([host.id not in holders for host in self._hosts], np.bool_))
            self._without[group] = column
        return column.values

    def holding(self, digest: str) -> BoolColumn:
        """Return which hosts hold a proven replica of this content, remembered likewise."""
        column = self._holding.get(digest)
        if column is None:
            if len(self._holding) >= MOST_ANSWERS:
                self._holding.clear()
            holders = self._images.get(digest, ())
            column = Column(np.array([host.id in holders for host in self._hosts], np.bool_))
            self._holding[digest] = column
        return column.values

    def hold(self, digest: str, host_ids: Collection[str]) -> None:
        """Say which hosts hold proven replicas of this content: these and no others."""
        self._images[digest] = set(host_ids)
        self._holding.pop(digest, None)

    def barring(self) -> Iterable[tuple[int, HostResources]]:
        """Return the rows of the hosts that keep builds out, now or not long ago: few or none."""
        return [(row, self._hosts[row]) for row in map(self._row, sorted(self._barring))]

    def answers(self, predicate: Predicate[Asked], asked: Asked) -> BoolColumn:
        """Return `predicate(host, asked)` for every host, remembered and kept up to date."""
        column = self._answers.get((predicate, asked))
        if column is None:
            if len(self._answers) >= MOST_ANSWERS:
                self._answers.clear()
            column = Column(np.array([predicate(host, asked) for host in self._hosts], np.bool_))
            self._answers[predicate, asked] = column
        return column.values

    def remember(self, key: Hashable, found: object) -> None:
        """Keep what was found out from the records alone, until one changes."""
        if len(self.memory) >= MOST_ANSWERS:
            self.memory.clear()
        self.memory[key] = found

    def _row(self, host_id: str) -> int:
        name = self._names.get(host_id)
        if name is None:
            raise NotFound(f"the fleet has no host {host_id}")
        return bisect_left(self._keys, (name, host_id))

    def _open(self, row: int, host: HostResources) -> None:
        self._keys.insert(row, _key(host))
        self._hosts.insert(row, host)
        self._names[host.id] = host.name
        for column in self._columns():
            column.open(row)

    def _close(self, row: int) -> None:
        del self._keys[row]
        host_id = self._hosts.pop(row).id
        del self._names[host_id]
        self._barring.discard(host_id)
        self._changed()
        for column in self._columns():
            column.close(row)

    def _write(self, row: int, host: HostResources) -> None:
        self._hosts[row] = host
        if host.breakers:
            self._barring.add(host.id)
        else:
            self._barring.discard(host.id)
        self._changed()
        limit, free = _limit_and_free(host)
        self._limit.values[:, row] = limit
        self._free.values[:, row] = free
        self._inverse.values[:, row] = [1 / most if most else 0.0 for most in limit[:3]]
        self._seen.values[row] = host.observed_at.timestamp() if host.observed_at else NEVER
        self._share_out(row)
        for (predicate, asked), column in self._answers.items():
            column.values[row] = predicate(host, asked)
        for group in self._without:
            self._note(group, row)
        for digest, column in self._holding.items():
            column.values[row] = host.id in self._images.get(digest, ())

    def _changed(self) -> None:
        self._records = None
        self.memory.clear()

    def _share_out(self, row: int) -> None:
        free, inverse = self._free.values[:3, row], self._inverse.values[:, row]
        self._share.values[:, row] = free * inverse

    def _columns(self) -> Iterable[Column[Any]]:
        yield from (self._free, self._limit, self._share, self._inverse, self._seen)
        yield from self._answers.values()
        yield from self._without.values()
        yield from self._holding.values()

    def _cut(self) -> None:
        self.free, self.limit = self._free.values, self._limit.values
        self.amounts = tuple(self.free)
        self.share, self.inverse = self._share.values, self._inverse.values
        self.seen = self._seen.values
        self.scratch = Scratch(len(self))

    def _leave(self, group: str, host_id: str) -> None:
        holders = self._holders.get(group, set())
        holders.discard(host_id)
        if not holders:
            self._holders.pop(group, None)

    def _note(self, group: str, row: int) -> None:
        if group in self._without:
            holders = self._holders.get(group, ())
            self._without[group].values[row] = self._hosts[row].id not in holders

    def _with_claims(self, row: int) -> HostResources:
        reserved = (self.limit[:, row] - self.free[:, row]).tolist()
        return replace(
            self._hosts[row],
            reserved_cpus=reserved[0],
            reserved_memory_mb=reserved[1],
            reserved_storage_mb=reserved[2],
            reserved_sandboxes=reserved[3],
        )


def _key(host: HostResources) -> tuple[str, str]:
    return host.name, host.id


def _amounts(resources: Resources) -> tuple[int, int, int, int]:
    return resources.vcpus, resources.memory_mb, resources.storage_mb, 1


def _limit_and_free(host: HostResources) -> tuple[list[int], list[int]]:
    sandboxes = UNLIMITED if host.limit_sandboxes is None else host.limit_sandboxes
    limit = [host.limit_cpus, host.limit_memory_mb, host.limit_storage_mb, sandboxes]
    reserved = (
        host.reserved_cpus,
        host.reserved_memory_mb,
        host.reserved_storage_mb,
        host.reserved_sandboxes,
    )
    return limit, [most - taken for most, taken in zip(limit, reserved, strict=True)]
