"""Gitea and Forgejo, which speak the same: pull requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.errors import RemoteRefused
from scheduler.publishing.forge import Proposal, Request, RequestState, chosen
from scheduler.publishing.reading import member, number, text
from scheduler.publishing.speaking import Speaker


def authorise(token: str) -> Mapping[str, str]:
    """Return the headers that carry a token."""
    return {"authorization": f"token {token}"}


class Gitea:
    """The adapter; see `forge.Forge`."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker

    async def find(self, proposal: Proposal) -> Request | None:
        """Return the pull request from this branch; the listing cannot be narrowed to one."""
        path = f"/repos/{proposal.repository}/pulls"
        for state in ("open", "closed"):
            pulls = await self._speaker.pages(path, state=state, sort="recentupdate", limit=50)
            ours = [_request(pull) for pull in pulls if _is_ours(pull, proposal)]
            found = chosen(ours, proposal.commit_sha)
            if found is not None:
                return found
        return None

    async def create(self, proposal: Proposal) -> Request:
        """Open a pull request."""
        body = {
            "title": proposal.title,
            "head": proposal.branch,
            "base": proposal.base,
            "body": proposal.text,
        }
        return _request(
            await self._speaker.send("POST", f"/repos/{proposal.repository}/pulls", body)
        )

    async def decorate(self, proposal: Proposal, number: int) -> Sequence[str]:
        """Add labels, which must be there and are known by id, and ask for reviews."""
        at = f"/repos/{proposal.repository}"
        ids, notes = await self._labels(f"{at}/labels", proposal.labels)
        wishes: tuple[tuple[str, str, Sequence[object]], ...] = (
            ("labels", f"{at}/issues/{number}/labels", ids),
            ("reviewers", f"{at}/pulls/{number}/requested_reviewers", proposal.reviewers),
        )
        for what, path, values in wishes:
            if values:
                try:
                    await self._speaker.send("POST", path, {what: list(values)})
                except RemoteRefused as error:
                    notes.append(f"{what} were not set: {error.message}")
        return notes

    async def get(self, repository: str, number: int) -> Request:
        """Return a pull request."""
        return _request(await self._speaker.get(f"/repos/{repository}/pulls/{number}"))

    async def _labels(self, path: str, names: Sequence[str]) -> tuple[list[int], list[str]]:
        if not names:
            return [], []
        known = {
            text(label, "name"): number(label, "id")
            for label in await self._speaker.pages(path, limit=50)
        }
        missing = [f"label {name} is not known there" for name in names if name not in known]
        return [known[name] for name in names if name in known], missing


def _is_ours(pull: Any, proposal: Proposal) -> bool:
    """Return whether a pull request is from this branch of the repository itself to this base.

    Strangers' forks have branches of any name. `ref` is no branch any more once that was removed.
    """
    head, base = member(pull, "head"), member(pull, "base")
    return (
        member(head, "repo_id") == number(base, "repo_id")
        and proposal.branch in (text(head, "label"), text(head, "ref"))
        and text(base, "ref") == proposal.base
    )


def _request(pull: Any) -> Request:
    is_open = text(pull, "state") == "open"
    merged = RequestState.MERGED if member(pull, "merged") is True else RequestState.CLOSED
    return Request(
        number=number(pull, "number"),
        url=text(pull, "html_url"),
        state=RequestState.OPEN if is_open else merged,
        head_sha=text(member(pull, "head"), "sha"),
    )
