"""A change set: the infrastructure code generated from a diff."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """Where a job's generated Ansible and Puppet code lies."""

    id: str
    job_id: str
    sandbox_id: str
    diff_id: str
    path_ansible: str
    path_puppet: str
    meta_json: str | None = None
    created_at: datetime
