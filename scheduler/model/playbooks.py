"""Playbooks and their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Playbook:
    """A stored Ansible play."""

    id: str
    name: str
    hosts: str = "all"
    become: bool = False
    file_path: str | None = None
    created_at: datetime
    updated_at: datetime
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookTask:
    """One task of a playbook, at `position` counted from 0."""

    id: str
    playbook_id: str
    position: int
    name: str
    module: str
    params: Mapping[str, object] = field(default_factory=dict)
    created_at: datetime
