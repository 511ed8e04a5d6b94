"""Hosts in the file: the same as over HTTP, with sizes as people write them.

Names must differ, which no single host can tell; so the whole list is looked at beside its parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scheduler.config.quantities import mebibytes
from scheduler.validation.faults import Fault

_SIZES = ("system_reserved_memory_mb", "system_reserved_storage_mb")


def readable(host: object) -> object:
    """Return the host's table with its sizes in MiB; raises a refusal with a remedy."""
    if not isinstance(host, Mapping):
        return host
    return {
        key: mebibytes(value) if key in _SIZES and isinstance(value, str) else value
        for key, value in host.items()
    }


def duplicates(hosts: object) -> Iterator[Fault]:
    """Yield a fault for every host whose name an earlier one has already."""
    first: dict[str, int] = {}
    for number, host in enumerate(hosts if isinstance(hosts, list) else ()):
        name = _name(host)
        if name is None:
            continue
        earlier = first.setdefault(name, number)
        if earlier != number:
            yield Fault(
                path=f"hosts.{number}.name",
                message=f"hosts.{earlier} has this name already",
                remedy="give every host a name of its own",
            )


def _name(host: Any) -> str | None:
    name = host.get("name") if isinstance(host, Mapping) else None
    return name if isinstance(name, str) else None
