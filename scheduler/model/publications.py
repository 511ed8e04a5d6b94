"""A publication of a change set to a repository.

Its row is a wish first and a proof later: what is planned is written before it is pushed, so that a
restarted daemon finds out whether it arrived and never does it twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from scheduler.model.events import SYSTEM


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
    """The commit that was seen in the branch."""
    pr_url: str | None = None
    status: PublicationStatus = PublicationStatus.PENDING
    error_msg: str | None = None
    """What it failed of, or what the last attempt at its present step did."""
    created_at: datetime
    updated_at: datetime
    change_set_id: str | None = None
    forge: str = ""
    """The name of the configured forge that the repository is on."""
    base: str | None = None
    """The branch that it is proposed for; the repository's default branch until that is known."""
    folder: str = ""
    """Where in the repository the change set goes; what was there is replaced."""
    title: str = ""
    message: str = ""
    labels: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    base_sha: str | None = None
    """What the planned commit is built on."""
    planned_sha: str | None = None
    """The commit that is about to be pushed, or was."""
    pr_number: int | None = None
    opened_at: datetime | None = None
    """When the pull or merge request was first seen."""
    attempts: int = 0
    """How often in a row the present step did not succeed."""
    retry_at: datetime | None = None
    reason_code: str | None = None
    notes: tuple[str, ...] = ()
    """What was asked for beside the request and could not be had, such as an unknown label."""
    actor: str = SYSTEM
    generation: int = 1
