"""GitLab: merge requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from scheduler.errors import RemoteRefused
from scheduler.publishing.forge import Proposal, Request, RequestState, chosen
from scheduler.publishing.reading import member, number, text
from scheduler.publishing.speaking import Speaker

_STATES = {
    "opened": RequestState.OPEN,
    "locked": RequestState.OPEN,
    "merged": RequestState.MERGED,
    "closed": RequestState.CLOSED,
}
"""A locked one is being merged."""


def authorise(token: str) -> Mapping[str, str]:
    """Return the headers that carry a token."""
    return {"authorization": f"Bearer {token}"}


class GitLab:
    """The adapter; see `forge.Forge`."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker

    async def find(self, proposal: Proposal) -> Request | None:
        """Return the merge request from this branch, if there is one."""
        found = await self._speaker.pages(
            _at(proposal.repository),
            state="all",
            source_branch=proposal.branch,
            target_branch=proposal.base,
            per_page=100,
        )
        ours = [_request(one) for one in found if _is_ours(one)]
        return chosen(ours, proposal.commit_sha)

    async def create(self, proposal: Proposal) -> Request:
        """Open a merge request."""
        body = {
            "source_branch": proposal.branch,
            "target_branch": proposal.base,
            "title": proposal.title,
            "description": proposal.text,
            "remove_source_branch": True,
        }
        return _request(await self._speaker.send("POST", _at(proposal.repository), body))

    async def decorate(self, proposal: Proposal, number: int) -> Sequence[str]:
        """Add labels, which GitLab makes when they are new, and reviewers, whom it knows by id."""
        notes, wishes = [], {}
        if proposal.labels:
            wishes["add_labels"] = ",".join(proposal.labels)
        ids, unknown = await self._users(proposal.reviewers)
        notes += [f"reviewer {name} is not known there" for name in unknown]
        body: dict[str, object] = {**wishes, **({"reviewer_ids": ids} if ids else {})}
        if body:
            try:
                await self._speaker.send("PUT", f"{_at(proposal.repository)}/{number}", body)
            except RemoteRefused as error:
                notes.append(f"labels and reviewers were not set: {error.message}")
        return notes

    async def get(self, repository: str, number: int) -> Request:
        """Return a merge request."""
        return _request(await self._speaker.get(f"{_at(repository)}/{number}"))

    async def _users(self, names: Sequence[str]) -> tuple[list[int], list[str]]:
        ids: list[int] = []
        unknown = []
        for name in names:
            found = await self._speaker.pages("/users", username=name)
            if found:
                ids.append(number(found[0], "id"))
            else:
                unknown.append(name)
        return ids, unknown


def _at(repository: str) -> str:
    return f"/projects/{quote(repository, safe='')}/merge_requests"


def _is_ours(one: Any) -> bool:
    """Return whether a merge request is from the project itself: a fork's branch may be called so.

    The source of one whose fork is gone is null.
    """
    return bool(member(one, "source_project_id") == number(one, "target_project_id"))


def _request(one: Any) -> Request:
    sha = member(one, "sha")
    return Request(
        number=number(one, "iid"),
        url=text(one, "web_url"),
        state=_STATES.get(text(one, "state"), RequestState.OPEN),
        head_sha=sha if isinstance(sha, str) else None,
    )
