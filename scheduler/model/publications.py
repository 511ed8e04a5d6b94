"""A publication of a change set to a repository."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class PublicationStatus(StrEnum):
    """Moves forward only; FAILED may be retried."""

    PENDING = "PENDING"
    COMMITTED = "COMMITTED"
    PR_CREATED = "PR_CREATED"
    MERGED = "MERGED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One attempt to bring a job's change set into a repository's branch."""

    id: str
    job_id: str
    repo_url: str
    branch: str
    commit_sha: str | None = None
    pr_url: str | None = None
    status: PublicationStatus = PublicationStatus.PENDING
    error_msg: str | None = None
    created_at: datetime
    updated_at: datetime
