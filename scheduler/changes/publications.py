"""The way of a change set into a repository: which step is next, when, and what came of it.

Pure. A step that did not succeed is repeated with growing pauses and a bound; what can never
succeed fails at once and says why. Nothing here goes back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from scheduler.model import Publication, PublicationStatus

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 900.0
FIRST_LOOK_SECONDS = 15.0
LONGEST_MESSAGE = 2000


class Step(StrEnum):
    """What is to be done with a publication now."""

    COMMIT = "commit"
    """Build the commit, and push it once it is planned."""
    PROPOSE = "propose"
    """Find or open the request."""
    FOLLOW = "follow"
    """See whether the request was merged or closed."""
    WAIT = "wait"
    REST = "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How long, and how often."""

    attempts: int = 8
    poll_seconds: float = 900.0
    follow_seconds: float = 7_776_000.0


_STEPS = {
    PublicationStatus.PENDING: Step.COMMIT,
    PublicationStatus.COMMITTED: Step.PROPOSE,
    PublicationStatus.PR_CREATED: Step.FOLLOW,
}


def next_step(publication: Publication, now: datetime) -> Step:
    """Return what is to be done with a publication now."""
    step = _STEPS.get(publication.status, Step.REST)
    if step is not Step.REST and pause_seconds(publication, now) > 0:
        return Step.WAIT
    return step


def pause_seconds(publication: Publication, now: datetime) -> float:
    """Return how long the next step is to be waited for.

    A pause that seems to begin later than now was written down by a clock that was wrong.
    """
    if publication.retry_at is None or now < publication.updated_at:
        return 0.0
    return max(0.0, (publication.retry_at - now).total_seconds())


def planned(
    publication: Publication, *, base: str, base_sha: str, commit_sha: str, now: datetime
) -> Publication:
    """Return a publication whose commit is known and not pushed yet."""
    return replace(
        publication, base=base, base_sha=base_sha, planned_sha=commit_sha, updated_at=now
    )


def unplanned(publication: Publication, *, now: datetime) -> Publication:
    """Return a publication whose plan cannot be carried out: the next one is made anew."""
    return replace(publication, base_sha=None, planned_sha=None, updated_at=now)


def committed(publication: Publication, *, now: datetime) -> Publication:
    """Return a publication whose planned commit was seen in the branch."""
    done = replace(publication, commit_sha=publication.planned_sha)
    return _reached(done, PublicationStatus.COMMITTED, now)


def opened(
    publication: Publication, *, number: int, url: str, notes: tuple[str, ...], now: datetime
) -> Publication:
    """Return a publication whose request is open at its forge."""
    done = replace(publication, pr_number=number, pr_url=url, notes=notes, opened_at=now)
    return _reached(done, PublicationStatus.PR_CREATED, now)


def merged(publication: Publication, *, now: datetime) -> Publication:
    """Return a publication that has come to its good end."""
    return _reached(publication, PublicationStatus.MERGED, now)


def still_open(publication: Publication, rules: Rules, *, now: datetime) -> Publication:
    """Return a publication that nobody has decided on: it is looked at again, or given up."""
    age = _followed_seconds(publication, now)
    if age >= rules.follow_seconds:
        days = rules.follow_seconds / 86400
        message = f"the request is open still, and nobody decided on it for {days:g} days"
        return failed(publication, "undecided", message, now=now)
    pause = min(rules.poll_seconds, max(FIRST_LOOK_SECONDS, age / 10))
    return replace(
        publication,
        attempts=0,
        error_msg=None,
        reason_code=None,
        retry_at=now + timedelta(seconds=pause),
        updated_at=now,
    )


def failed(publication: Publication, reason: str, message: str, *, now: datetime) -> Publication:
    """Return a publication that goes no further by itself.

    A branch that is gone takes its commit with it: a retry begins with a new one.
    """
    gone = reason == "branch_gone"
    return replace(
        publication,
        status=PublicationStatus.FAILED,
        reason_code=reason,
        error_msg=message[:LONGEST_MESSAGE],
        retry_at=None,
        commit_sha=None if gone else publication.commit_sha,
        planned_sha=None if gone else publication.planned_sha,
        updated_at=now,
    )


def deferred(
    publication: Publication,
    message: str,
    rules: Rules,
    *,
    now: datetime,
    retry_after_seconds: float | None = None,
) -> Publication:
    """Return a publication whose step did not succeed this time: later again, or never.

    A request goes on by itself while its forge is away, so a look at it that did not succeed is
    none too many: what ends looking is the time that it is followed for, not a number of attempts.
    """
    attempts = publication.attempts + 1
    tried = replace(publication, attempts=attempts)
    longest = LONGEST_PAUSE_SECONDS
    if publication.status is PublicationStatus.PR_CREATED:
        longest = max(FIRST_PAUSE_SECONDS, rules.poll_seconds)
        if _followed_seconds(publication, now) >= rules.follow_seconds:
            days = rules.follow_seconds / 86400
            told = f"it was followed for {days:g} days; the last look at the request: {message}"
            return failed(tried, "undecided", told, now=now)
    elif attempts >= rules.attempts:
        told = f"given up after {attempts} attempts; the last: {message}"
        return failed(tried, "attempts_exhausted", told, now=now)
    pause = min(longest, FIRST_PAUSE_SECONDS * 2.0 ** min(attempts - 1, 16))
    return replace(
        tried,
        reason_code="deferred",
        error_msg=message[:LONGEST_MESSAGE],
        retry_at=now + timedelta(seconds=max(pause, min(retry_after_seconds or 0.0, 3600.0))),
        updated_at=now,
    )


def retried(publication: Publication, *, now: datetime) -> Publication:
    """Return a failed publication that is to be gone on with from what is proven."""
    if publication.pr_url:
        status = PublicationStatus.PR_CREATED
    else:
        proven = publication.commit_sha is not None
        status = PublicationStatus.COMMITTED if proven else PublicationStatus.PENDING
    again = replace(publication, opened_at=now if publication.pr_url else None)
    return _reached(again, status, now)


def _followed_seconds(publication: Publication, now: datetime) -> float:
    return (now - (publication.opened_at or now)).total_seconds()


def _reached(publication: Publication, status: PublicationStatus, now: datetime) -> Publication:
    return replace(
        publication,
        status=status,
        attempts=0,
        retry_at=None,
        reason_code=None,
        error_msg=None,
        updated_at=now,
    )
