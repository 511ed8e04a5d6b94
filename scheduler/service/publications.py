"""Publications: ask for one, look, wait, retry. A loop brings the change set to its repository."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from scheduler import ids
from scheduler.changes.publications import retried
from scheduler.clock import Clock
from scheduler.config.publishing import ForgeSection
from scheduler.errors import Conflict, Invalid
from scheduler.model import (
    ChangeSet,
    Event,
    Publication,
    PublicationStatus,
    Verification,
    VerificationResult,
)
from scheduler.publishing.forges import Forges
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.requests import PublishChangeSet
from scheduler.store import ListOptions, Page, PublicationFilter, Store, Transaction
from scheduler.validation.repositories import is_folder

SETTLED = frozenset(
    {PublicationStatus.PR_CREATED, PublicationStatus.MERGED, PublicationStatus.FAILED}
)
"""Where nothing more happens until somebody decides."""


class KnowsForges(Protocol):
    """Tells which configured forge a repository is on."""

    def of(self, repo_url: str) -> ForgeSection:
        """Return the forge; raises `Invalid` when none is configured."""
        ...


class PublicationService:
    """What users do with publications; `wake` tells the loop of one."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        forges: KnowsForges | None,
        journal: Journal,
        wake: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._forges = Forges((), clock) if forges is None else forges
        self._journal = journal
        self._wake = wake

    async def publish(
        self, change_set_id: str, request: PublishChangeSet, intent: Intent[Publication]
    ) -> Publication:
        """Record that a change set is to be published; the same wish again is the one there is.

        Raises `NotFound` for an unknown change set, `Invalid` for a repository on no configured
        forge, `Conflict` when the job has published another change set to this branch.
        """
        forge = self._forges.of(request.repo_url)
        unit = partial(self._record, change_set_id, request, forge.name, intent.actor)
        publication = await self._store.submit(intent.once(unit))
        self._committed(publication)
        return publication

    async def get(self, publication_id: str) -> Publication:
        """Return a publication; raises `NotFound`."""
        return await self._store.read(lambda tx: tx.publications.get(publication_id))

    async def find(self, wanted: PublicationFilter, options: ListOptions) -> Page[Publication]:
        """Return a page of publications."""
        return await self._store.read(lambda tx: tx.publications.find(wanted, options))

    async def wait(self, publication_id: str, seconds: float) -> Publication:
        """Return the publication once somebody else must decide, or when `seconds` are over."""
        return await self._journal.until(
            lambda: self.get(publication_id),
            lambda publication: publication.status in SETTLED,
            seconds,
        )

    async def retry(self, publication_id: str, intent: Intent[Publication]) -> Publication:
        """Go on with a failed publication from what is proven; `Conflict` for any other."""
        unit = partial(self._retry, publication_id, intent.actor)
        publication = await self._store.submit(intent.once(unit))
        self._committed(publication)
        return publication

    def _record(
        self,
        change_set_id: str,
        request: PublishChangeSet,
        forge: str,
        actor: str,
        tx: Transaction,
    ) -> Publication:
        change_set = tx.change_sets.get(change_set_id)
        job = change_set.job_id
        there = tx.publications.by_branch(job, request.repo_url, request.branch)
        if there is not None:
            return _same(there, change_set)
        _check_proven(change_set, tx.verifications.get(change_set.id), request.unverified)
        now = self._clock.now()
        publication = Publication(
            id=ids.new_id(ids.Prefix.PUBLICATION),
            job_id=job,
            repo_url=request.repo_url,
            branch=request.branch,
            change_set_id=change_set.id,
            forge=forge,
            base=request.base,
            folder=request.folder or _default_folder(job),
            title=request.title or f"Apply change set {change_set.id} of job {job}",
            message=request.message,
            labels=tuple(request.labels),
            reviewers=tuple(request.reviewers),
            actor=actor,
            created_at=now,
            updated_at=now,
        )
        tx.publications.add(publication)
        where = f"{publication.branch} of {publication.repo_url}"
        tx.events.add(
            publication_event(
                "publication.requested",
                publication,
                f"{change_set.id} is to go to {where}",
                sandbox_id=change_set.sandbox_id,
                actor=actor,
            )
        )
        return publication

    def _retry(self, publication_id: str, actor: str, tx: Transaction) -> Publication:
        before = tx.publications.get(publication_id)
        if before.status is not PublicationStatus.FAILED:
            raise Conflict(
                f"publication {before.id} is {before.status}, so there is nothing to retry",
                remedy=f"look at it: sandboxctl publication show {before.id}",
                details={"status": before.status.value},
            )
        after = tx.publications.replace(retried(before, now=self._clock.now()), before=before)
        change_set = tx.change_sets.get(after.change_set_id or "")
        tx.events.add(
            publication_event(
                "publication.retried",
                after,
                f"to be gone on with from {after.status}",
                before=before,
                sandbox_id=change_set.sandbox_id,
                actor=actor,
            )
        )
        return after

    def _committed(self, publication: Publication) -> None:
        self._journal.poke()
        self._wake(publication.id)


def publication_event(
    kind: str,
    publication: Publication,
    message: str,
    *,
    sandbox_id: str,
    before: Publication | None = None,
    actor: str = "system",
) -> Event:
    """Return an entry of the journal about a publication, for its change set's sandbox."""
    changes = {"from": before.status, "to": publication.status} if before is not None else {}
    return Event(
        at=publication.updated_at,
        kind=kind,
        actor=actor,
        sandbox_id=sandbox_id,
        reason_code=publication.reason_code or publication.status.value.lower(),
        message=f"{publication.id}: {message}",
        evidence={
            "publication_id": publication.id,
            "change_set_id": publication.change_set_id,
            "commit_sha": publication.commit_sha or publication.planned_sha,
            "pr_url": publication.pr_url,
            **{name: status.value for name, status in changes.items()},
        },
    )


def _check_proven(
    change_set: ChangeSet, verification: Verification | None, unverified: bool
) -> None:
    """Raise `Conflict` unless the change set can be read, and was verified if that is asked."""
    if not change_set.written:
        raise Conflict(
            f"change set {change_set.id} is {change_set.state}: there is nothing to publish",
            remedy=f"wait until it is READY: sandboxctl changeset show {change_set.id}",
            details={"state": change_set.state.value},
        )
    result = None if verification is None or not verification.over else verification.result
    if unverified or result is VerificationResult.PASSED:
        return
    told = "was not verified" if result is None else f"has a verification that is {result}"
    raise Conflict(
        f"change set {change_set.id} {told}",
        remedy=f"sandboxctl changeset verify {change_set.id}, or publish it with --unverified",
        details={"verification": None if result is None else result.value},
    )


def _same(there: Publication, change_set: ChangeSet) -> Publication:
    if there.change_set_id != change_set.id:
        raise Conflict(
            f"job {there.job_id} has published change set {there.change_set_id} to "
            f"{there.branch}: publication {there.id}",
            remedy="publish this one to a branch of its own",
            details={"publication_id": there.id},
        )
    return there


def _default_folder(job: str) -> str:
    folder = f"sandboxd/{job}"
    if not is_folder(folder):
        raise Invalid(
            f"no folder can be named after job {job}",
            remedy="say where in the repository it goes: folder",
            details={"folder": "must be given for this job"},
        )
    return folder
