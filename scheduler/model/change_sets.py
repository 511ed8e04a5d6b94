"""A change set: the infrastructure code generated from a diff, and what proved it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ChangeSetState(StrEnum):
    """How far a change set has come; its files are there from CHECKING on."""

    PENDING = "PENDING"
    """Asked for; nothing of it can be read yet."""
    CHECKING = "CHECKING"
    """Written; the tools that are installed here judge it."""
    READY = "READY"
    FAILED = "FAILED"
    """It could not be made; `reason` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One tool's judgement of a change set."""

    tool: str
    result: str
    """`passed`, `failed`, `absent` where it is not installed, `error` without a judgement."""
    output: str = ""
    """The end of what it said, where that is more than "nothing found"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """Where a job's generated Ansible and Puppet code lies, below the state directory."""

    id: str
    job_id: str
    sandbox_id: str
    diff_id: str
    path_ansible: str
    path_puppet: str
    meta_json: str | None = None
    created_at: datetime

    name: str = "sandbox_changes"
    """What the role and the module are called."""
    state: ChangeSetState = ChangeSetState.READY
    reason: str | None = None
    """Why it failed, or what keeps it from going on."""
    actor: str = "system"
    wishes: int = 0
    """How many things the code brings about."""
    reviews: int = 0
    """How many are left for people, in REVIEW.md."""
    checks: tuple[Check, ...] = ()
    updated_at: datetime | None = None

    @property
    def written(self) -> bool:
        """Return whether its files are there."""
        return self.state in (ChangeSetState.CHECKING, ChangeSetState.READY)
