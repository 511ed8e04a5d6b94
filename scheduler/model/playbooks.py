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
    checked_revision: int | None = None
    """The revision that Ansible was asked about last; None when it never was."""
    check_fault: str | None = None
    """What Ansible said against that revision; None when nothing."""


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
    literal: bool = False
    """Whether the parameters are data: nothing in them is ever evaluated."""
