"""Publications: the status only moves forward, and what is not given is never erased.

FAILED can be left: a retry resumes at what the commit and the pull request prove was reached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import or_, select

from scheduler.errors import Conflict
from scheduler.model import Publication, PublicationStatus
from scheduler.store.options import UNSET, ListOptions, Order, Page, Unset, given
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, inserted, overwritten, selected
from scheduler.store.tables import PUBLICATIONS

_PENDING = PublicationStatus.PENDING
_COMMITTED = PublicationStatus.COMMITTED
_PR_CREATED = PublicationStatus.PR_CREATED
_MERGED = PublicationStatus.MERGED
_FAILED = PublicationStatus.FAILED

_FORWARD = (_PENDING, _COMMITTED, _PR_CREATED, _MERGED)

_COLUMNS = PUBLICATIONS.table.c
_INSERT = inserted(PUBLICATIONS)
_BY_ID = selected(PUBLICATIONS, "id")
_OVERWRITE = overwritten(
    PUBLICATIONS, "id", "generation", keep=("id", "job_id", "repo_url", "branch", "created_at")
)
_BY_BRANCH = selected(PUBLICATIONS, "job_id", "repo_url", "branch")
_UNSETTLED = Statement(
    select(_COLUMNS.id)
    .where(or_(*(_COLUMNS.status == status.value for status in _FORWARD[:-1])))
    .order_by(_COLUMNS.id)
)
_ORDER = Order(
    keys={"created_at": _COLUMNS.created_at, "updated_at": _COLUMNS.updated_at},
    id=_COLUMNS.id,
    default="created_at",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicationFilter:
    """Which publications; everything given must hold."""

    job_id: str | None = None
    status: PublicationStatus | None = None
    change_set_id: str | None = None


class Publications(Repository):
    """The publications' repository."""

    __slots__ = ()

    def add(self, publication: Publication) -> Publication:
        """Write a publication; `AlreadyExists` when the job has one on this branch."""
        self._insert(PUBLICATIONS, _INSERT, publication)
        return publication

    def get(self, id: str) -> Publication:
        """Return a publication; `NotFound` when there is none."""
        return self._one(PUBLICATIONS, _BY_ID, id)

    def by_branch(self, job_id: str, repo_url: str, branch: str) -> Publication | None:
        """Return a job's publication to a repository's branch, None when there is none."""
        return self._maybe(PUBLICATIONS, _BY_BRANCH, job_id, repo_url, branch)

    def unsettled(self) -> tuple[str, ...]:
        """Return the ids of those that have work to do, the oldest first."""
        return tuple(str(row[0]) for row in self._cursor.rows(_UNSETTLED))

    def find(
        self, filter: PublicationFilter | None = None, options: ListOptions | None = None
    ) -> Page[Publication]:
        """Return a page of the publications that match, newest first unless asked otherwise."""
        wanted = filter or PublicationFilter()
        query = self._matching(PUBLICATIONS, wanted, "job_id", "status", "change_set_id")
        return self._page(PUBLICATIONS, query, _ORDER, options)

    def set_status(
        self,
        id: str,
        status: PublicationStatus,
        *,
        commit_sha: str | Unset | None = UNSET,
        pr_url: str | Unset | None = UNSET,
        error_msg: str | Unset | None = UNSET,
    ) -> Publication:
        """Move a publication forward, or a failed one back to work; else `Conflict`.

        PENDING on a failed one asks for a retry and lands on what is proven: PR_CREATED with a pull
        request, COMMITTED with a commit, PENDING with neither.
        """
        old = self.get(id)
        moved = replace(
            old,
            commit_sha=given(commit_sha, old.commit_sha),
            pr_url=given(pr_url, old.pr_url),
            error_msg=given(error_msg, old.error_msg),
            updated_at=self._clock.now(),
        )
        return self.replace(replace(moved, status=_reached(old.status, status, moved)), before=old)

    def replace(self, publication: Publication, *, before: Publication) -> Publication:
        """Write a publication that is still as it was `before`; else, or backward, `Conflict`."""
        _reached(before.status, publication.status, publication)
        written = replace(publication, generation=before.generation + 1)
        parameters = [*PUBLICATIONS.row(written), before.id, before.generation]
        if not self._cursor.change(_OVERWRITE, parameters):
            current = self.get(before.id)
            raise Conflict(
                f"publication {before.id} has moved on meanwhile: it is {current.status}",
                remedy="Look at it again and decide anew.",
                details={"status": str(current.status)},
            )
        return written


def _reached(
    old: PublicationStatus, wanted: PublicationStatus, publication: Publication
) -> PublicationStatus:
    if old is _FAILED and wanted is _PENDING:
        return _proven(publication)
    start = _proven(publication) if old is _FAILED else old
    if old is _MERGED and wanted is _FAILED:
        raise _backward(publication, wanted)
    if wanted is not _FAILED and _FORWARD.index(wanted) < _FORWARD.index(start):
        raise _backward(publication, wanted)
    return wanted


def _proven(publication: Publication) -> PublicationStatus:
    if publication.pr_url:
        return _PR_CREATED
    return _COMMITTED if publication.commit_sha else _PENDING


def _backward(publication: Publication, wanted: PublicationStatus) -> Conflict:
    return Conflict(
        f"publication {publication.id} is {publication.status} and cannot become {wanted}",
        remedy="Read it again: its status only moves forward.",
        details={"status": str(publication.status), "wanted": str(wanted)},
    )
