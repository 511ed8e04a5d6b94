"""A source VM: an operator's machine that sandboxes may be cloned from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceVM:
    """A source VM and its preparation; unique by host and name, as libvirt's names are."""

    id: str
    name: str
    host_name: str | None = None
    host_address: str | None = None
    prepared: bool = False
    prepared_at: datetime | None = None
    prepare_json: str | None = None
    ca_fingerprint: str | None = None
    created_at: datetime
    updated_at: datetime
    domain_uuid: str | None = None
    """The machine that was meant: another one under its name is not prepared."""
    host_key: str | None = None
    """The key that it proved itself with at the first login, as one line; no other is taken."""
    generation: int = 1
