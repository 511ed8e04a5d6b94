"""A manifest as bytes and back: JSON, a list for each field of the entries, which packs well.

The same manifest is the same bytes, so that its digest names it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeVar

from scheduler.errors import Unavailable
from scheduler.model import (
    FILE_ATTRIBUTES,
    EntryKind,
    Manifest,
    ManifestEntry,
    Omission,
    PackageInfo,
    ServiceState,
)

T = TypeVar("T")

VERSION = 3
_SERVICES_ONLY, _LESS_OF_FILES = 1, 2
"""The versions before units of other types and alternatives were told, and before capabilities
and what is below a root that is a link."""
_NOT_FOLLOWED = "this root is a link, and an earlier version of sandboxd did not look below it"
_ENTRY_FIELDS = tuple(one.name for one in fields(ManifestEntry))
_KINDS = {kind.value: kind for kind in EntryKind}


def to_bytes(manifest: Manifest) -> bytes:
    """Return a manifest as bytes."""
    document = {
        "version": VERSION,
        "taken_at": manifest.taken_at.isoformat(),
        "roots": manifest.roots,
        "entries": _columns(manifest.entries, _ENTRY_FIELDS),
        "packages": _columns(manifest.packages, _names(PackageInfo)),
        "package_manager": manifest.package_manager,
        "services": _columns(manifest.services, _names(ServiceState)),
        "service_manager": manifest.service_manager,
        "unit_types": manifest.unit_types,
        "chosen_alternatives": manifest.chosen_alternatives,
        "attributes": manifest.attributes,
        "omissions": _columns(manifest.omissions, _names(Omission)),
        "system": dict(sorted(manifest.system.items())),
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def from_bytes(data: bytes) -> Manifest:
    """Return the manifest; raises `Unavailable` for one that a newer sandboxd wrote."""
    document = json.loads(data)
    if document["version"] not in (VERSION, _LESS_OF_FILES, _SERVICES_ONLY):
        raise Unavailable(
            f"a manifest is of version {document['version']}, which this version does not know",
            remedy="a newer sandboxd wrote it: run that version",
        )
    if document["version"] == _SERVICES_ONLY:
        document |= {"unit_types": ("service",), "chosen_alternatives": None}
    chosen = document["chosen_alternatives"]
    columns = document["entries"]
    if document["version"] != VERSION:
        document["attributes"] = ()
        columns |= dict.fromkeys(FILE_ATTRIBUTES, [None] * len(columns["path"]))
    columns["kind"] = [_KINDS[one] for one in columns["kind"]]
    whole = Manifest(
        taken_at=datetime.fromisoformat(document["taken_at"]),
        roots=tuple(document["roots"]),
        entries=_rows(ManifestEntry, columns),
        packages=_rows(PackageInfo, document["packages"]),
        package_manager=document["package_manager"],
        services=_rows(ServiceState, document["services"]),
        service_manager=document["service_manager"],
        unit_types=tuple(document["unit_types"]),
        chosen_alternatives=None if chosen is None else tuple(chosen),
        attributes=tuple(document["attributes"]),
        omissions=_rows(Omission, document["omissions"]),
        system=document["system"],
    )
    return whole if document["version"] == VERSION else _links_left(whole)


def _links_left(manifest: Manifest) -> Manifest:
    """Return a manifest that says of which roots it knows the link alone."""
    roots = frozenset(manifest.roots)
    links = (one.path for one in manifest.entries if one.kind is EntryKind.SYMLINK)
    told = (Omission(path=path, reason=_NOT_FOLLOWED) for path in links if path in roots)
    omissions = sorted((*manifest.omissions, *told), key=attrgetter("path", "reason"))
    return replace(manifest, omissions=tuple(omissions))


def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(one.name for one in fields(kind))


def _columns(rows: Sequence[object], names: Iterable[str]) -> Mapping[str, list[object]]:
    return {name: list(map(attrgetter(name), rows)) for name in names}


def _rows(kind: type[T], columns: Mapping[str, Sequence[Any]]) -> tuple[T, ...]:
    """Return the values; their fields are filled column by column.

    The constructor of a frozen dataclass, called once a row, takes six times as long, and a guest
    has a hundred thousand rows.
    """
    (length,) = {len(columns[name]) for name in _names(kind)}
    rows = tuple(object.__new__(kind) for _ in range(length))
    for name in _names(kind):
        deque(map(getattr(kind, name).__set__, rows, columns[name]), maxlen=0)
    return rows
