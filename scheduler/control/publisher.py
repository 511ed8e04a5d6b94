"""Brings a change set into its repository, a step at a time: one item is one publication.

What a step does outside is found out before it is done again: the planned commit is recorded, then
pushed where nothing may be, and a request is looked for before one is opened. So a death at any
moment costs a look, never a second commit or a second request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

from scheduler.changes import publications as rules
from scheduler.changes.publications import Rules, Step
from scheduler.changes.request_texts import commit_message, request_text
from scheduler.clock import Clock
from scheduler.errors import Conflict, Invalid, NotFound, RemoteRefused, RemoteUnavailable
from scheduler.model import ChangeSet, Publication, PublicationStatus
from scheduler.publishing.access import Access
from scheduler.publishing.forge import Forge, Proposal, Request, RequestState
from scheduler.publishing.git import GitRepository, Signature
from scheduler.service.publications import publication_event
from scheduler.store import Store, Transaction
from scheduler.validation.repositories import is_folder

AT_ONCE = 2
"""So many repositories are worked on at a time; the others wait their turn."""

OpenRepository = Callable[[Access], AbstractAsyncContextManager[GitRepository]]


class KnownForges(Protocol):
    """Where a repository's forge is found; see `publishing.forges`."""

    def access(self, repo_url: str) -> Access:
        """Return what opens a repository to git."""
        ...

    def path(self, repo_url: str) -> str:
        """Return a repository's path on its forge."""
        ...

    def adapter(self, repo_url: str) -> Forge:
        """Return who speaks to the forge of a repository."""
        ...


class Publisher:
    """Works on one publication at a time; `Workers` sees to it that nobody else does."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        forges: KnownForges,
        repository: OpenRepository,
        change_sets: Path,
        author: tuple[str, str],
        rules: Rules,
        changed: Callable[[Publication, Publication], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._forges = forges
        self._repository = repository
        self._change_sets = change_sets
        self._author = author
        self._rules = rules
        self._changed = changed
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._work: Mapping[Step, Callable[[Publication, ChangeSet], Awaitable[Publication]]] = {
            Step.COMMIT: self._commit,
            Step.PROPOSE: self._propose,
            Step.FOLLOW: self._follow,
        }

    async def publish(self, publication_id: str) -> float | None:
        """Take the next step; return the seconds after which to go on, None when it rests."""
        try:
            publication, change_set = await self._store.read(partial(_standing, publication_id))
        except NotFound:
            return None
        step = rules.next_step(publication, self._clock.now())
        if step is Step.REST:
            return None
        if step is not Step.WAIT:
            async with self._slots:
                publication = await self._taken(step, publication, change_set)
        if rules.next_step(publication, self._clock.now()) is Step.REST:
            return None
        return rules.pause_seconds(publication, self._clock.now())

    async def pending(self) -> tuple[str, ...]:
        """Return the ids of the publications that have work to do."""
        return await self._store.read(lambda tx: tx.publications.unsettled())

    async def _taken(
        self, step: Step, publication: Publication, change_set: ChangeSet
    ) -> Publication:
        """Return the publication after a step, whatever came of it."""
        try:
            return await self._work[step](publication, change_set)
        except Conflict:
            return await self._current(publication)  # its owner changed their mind
        except RemoteUnavailable as error:
            patience = error.details.get("retry_after")
            after = partial(
                rules.deferred,
                message=_words(error),
                rules=self._rules,
                retry_after_seconds=float(str(patience)) if patience is not None else None,
            )
        except RemoteRefused as error:
            after = partial(rules.failed, reason=error.reason, message=_words(error))
        except Invalid as error:
            after = partial(rules.failed, reason="no_forge", message=_words(error))
        # What was planned meanwhile must not be written over.
        publication = await self._current(publication)
        return await self._become(publication, after(publication, now=self._clock.now()))

    async def _commit(self, publication: Publication, change_set: ChangeSet) -> Publication:
        """Plan the commit, push it, and see it in the branch."""
        async with self._repository(self._forges.access(publication.repo_url)) as repository:
            heads = await repository.heads(publication.branch, publication.base)
            if heads.branch_sha is not None:
                return await self._arrived(publication, heads.branch_sha)
            if heads.base is None or heads.base_sha is None:
                raise _no_base(publication)
            parent = await self._parent(repository, publication, heads.base)
            commit = await repository.commit(
                self._directory(change_set),
                publication.folder,
                parent=parent,
                message=commit_message(publication),
                signature=Signature(
                    name=self._author[0], email=self._author[1], at=publication.created_at
                ),
            )
            if (commit, heads.base) != (publication.planned_sha, publication.base):
                plan = partial(rules.planned, base=heads.base, base_sha=parent, commit_sha=commit)
                planned = plan(publication, now=self._clock.now())
                publication = await self._become(publication, planned)
            await self._push(repository, publication, commit)
            heads = await repository.heads(publication.branch, publication.base)
        if heads.branch_sha is None:
            raise RemoteUnavailable("the branch was pushed and is not there")
        return await self._arrived(publication, heads.branch_sha)

    async def _push(self, repository: GitRepository, publication: Publication, commit: str) -> None:
        """Push, unless the branch turns out to be there: whose it is then is seen by looking."""
        try:
            await repository.push(commit, publication.branch)
        except RemoteRefused as error:
            if error.reason == "base_rewritten":
                now = self._clock.now()
                await self._become(publication, rules.unplanned(publication, now=now))
                raise RemoteUnavailable(error.message, remedy="it is built anew") from error
            if error.reason != "stale":
                raise

    async def _parent(self, repository: GitRepository, publication: Publication, base: str) -> str:
        """Fetch what the commit is built on: what it was planned on, while that can be had."""
        if publication.base_sha is not None and publication.planned_sha is not None:
            try:
                return await repository.fetch(publication.base_sha)
            except (RemoteRefused, RemoteUnavailable):
                pass  # its base was rewritten: a new plan it is
        return await repository.fetch(base)

    async def _arrived(self, publication: Publication, branch_sha: str) -> Publication:
        if branch_sha != publication.planned_sha:
            raise RemoteRefused(
                f"branch {publication.branch} is there and holds {branch_sha[:12]}, which is not "
                "ours",
                reason="branch_taken",
                remedy="publish to another branch, or remove that one; then retry",
            )
        done = rules.committed(publication, now=self._clock.now())
        return await self._become(publication, done)

    async def _propose(self, publication: Publication, change_set: ChangeSet) -> Publication:
        """Find the request, or open it."""
        forge = self._forges.adapter(publication.repo_url)
        verification = await self._store.read(lambda tx: tx.verifications.get(change_set.id))
        proposal = self._proposal(publication, request_text(publication, change_set, verification))
        request = await forge.find(proposal)
        if request is None:
            await self._check_branch(publication)
            request = await self._opened(forge, proposal)
        await self._check_head(publication, request)
        notes: tuple[str, ...] = ()
        if request.state is RequestState.OPEN:
            notes = tuple(await forge.decorate(proposal, request.number))
        opened = rules.opened(
            publication, number=request.number, url=request.url, notes=notes, now=self._clock.now()
        )
        return await self._become(publication, opened)

    async def _check_branch(self, publication: Publication) -> None:
        """Raise `RemoteRefused` unless the branch is what was pushed."""
        async with self._repository(self._forges.access(publication.repo_url)) as repository:
            heads = await repository.heads(publication.branch, publication.base)
        if heads.branch_sha is None:
            raise RemoteRefused(
                f"branch {publication.branch} was removed before a request was opened",
                reason="branch_gone",
                remedy="a retry makes it again",
            )
        if heads.branch_sha != publication.commit_sha:
            raise RemoteRefused(
                f"branch {publication.branch} was changed by somebody else: it holds "
                f"{heads.branch_sha[:12]}, not {str(publication.commit_sha)[:12]} as pushed",
                reason="diverged",
                remedy="publish to another branch, or set that one back; then retry",
            )

    async def _check_head(self, publication: Publication, request: Request) -> None:
        """Raise an error unless an open request is for what was pushed, and nothing else.

        Labels may have a request merged, so none is put to what somebody else has pushed. A forge
        that has not looked at the branch yet tells another commit, or none.
        """
        if request.state is not RequestState.OPEN or request.head_sha == publication.commit_sha:
            return
        await self._check_branch(publication)
        if request.head_sha is not None:
            raise RemoteUnavailable(
                f"{request.url} is for {request.head_sha[:12]} still, not for what was pushed",
                remedy="it is looked at again",
            )

    async def _opened(self, forge: Forge, proposal: Proposal) -> Request:
        try:
            return await forge.create(proposal)
        except RemoteRefused as error:
            found = await forge.find(proposal) if error.reason == "request_exists" else None
            if found is None:
                raise
            return found

    async def _follow(self, publication: Publication, _change_set: ChangeSet) -> Publication:
        """See what became of the request."""
        forge = self._forges.adapter(publication.repo_url)
        path = self._forges.path(publication.repo_url)
        request = await forge.get(path, publication.pr_number or 0)
        now = self._clock.now()
        if request.state is RequestState.MERGED:
            return await self._become(publication, rules.merged(publication, now=now))
        if request.state is RequestState.CLOSED:
            raise RemoteRefused(
                f"the request was closed without being merged: {publication.pr_url}",
                reason="closed",
                remedy="reopen it there and retry, or publish to another branch",
            )
        seen = rules.still_open(publication, self._rules, now=now)
        return await self._become(publication, seen)

    def _proposal(self, publication: Publication, text: str) -> Proposal:
        return Proposal(
            repository=self._forges.path(publication.repo_url),
            branch=publication.branch,
            base=publication.base or "",
            commit_sha=publication.commit_sha or "",
            title=publication.title,
            text=text,
            labels=publication.labels,
            reviewers=publication.reviewers,
        )

    def _directory(self, change_set: ChangeSet) -> Path:
        names = (change_set.job_id, change_set.id)
        if not all(is_folder(name) and "/" not in name for name in names):
            raise RemoteRefused(
                f"job {change_set.job_id} has a name that no directory has",
                reason="change_set_unpublishable",
            )
        return self._change_sets.joinpath(*names)

    async def _current(self, publication: Publication) -> Publication:
        return await self._store.read(lambda tx: tx.publications.get(publication.id))

    async def _become(self, before: Publication, after: Publication) -> Publication:
        written = await self._store.submit(partial(_write, before, after))
        self._changed(before, written)
        return written


def _standing(publication_id: str, tx: Transaction) -> tuple[Publication, ChangeSet]:
    publication = tx.publications.get(publication_id)
    return publication, tx.change_sets.get(publication.change_set_id or "")


def _write(before: Publication, after: Publication, tx: Transaction) -> Publication:
    written = tx.publications.replace(after, before=before)
    told = _told(before, after)
    if told is not None:
        kind, message = told
        change_set = tx.change_sets.get(after.change_set_id or "")
        tx.events.add(
            publication_event(
                f"publication.{kind}",
                written,
                message,
                before=before,
                sandbox_id=change_set.sandbox_id,
            )
        )
    return written


def _told(before: Publication, after: Publication) -> tuple[str, str] | None:
    """Return what is told of a change, None when there is nothing to tell."""
    if after.status is PublicationStatus.FAILED:
        return "failed", after.error_msg or ""
    if after.status is not before.status:
        messages = {
            PublicationStatus.COMMITTED: f"{str(after.commit_sha)[:12]} is in {after.branch}",
            PublicationStatus.PR_CREATED: "; ".join((f"open at {after.pr_url}", *after.notes)),
            PublicationStatus.MERGED: f"merged into {after.base}: {after.pr_url}",
        }
        return after.status.value.lower(), messages[after.status]
    if after.planned_sha != before.planned_sha:
        return (
            "planned",
            f"{str(after.planned_sha)[:12]} on {after.base} {str(after.base_sha)[:12]}",
        )
    # An open request may be followed for months: that it cannot be looked at is told once.
    told_already = after.status is PublicationStatus.PR_CREATED and before.attempts > 0
    deferred = after.attempts > before.attempts and not told_already
    return ("deferred", after.error_msg or "") if deferred else None


def _words(error: RemoteRefused | RemoteUnavailable | Invalid) -> str:
    return f"{error.message}; {error.remedy}" if error.remedy else error.message


def _no_base(publication: Publication) -> RemoteRefused:
    named = f"branch {publication.base}" if publication.base else "default branch"
    return RemoteRefused(
        f"the repository has no {named}",
        reason="base_missing",
        remedy="name a base branch that is there; an empty repository needs a first commit",
    )
