"""GitHub, github.com or a server of one's own: pull requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.errors import RemoteRefused
from scheduler.publishing.forge import Proposal, Request, RequestState, chosen
from scheduler.publishing.reading import member, number, text
from scheduler.publishing.speaking import Speaker

VERSION = "2022-11-28"
_EXISTS = "already exists"


def authorise(token: str) -> Mapping[str, str]:
    """Return the headers that carry a token."""
    return {
        "authorization": f"Bearer {token}",
        "accept": "application/vnd.github+json",
        "x-github-api-version": VERSION,
    }


class GitHub:
    """The adapter; see `forge.Forge`."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker

    async def find(self, proposal: Proposal) -> Request | None:
        """Return the pull request from this branch, if there is one."""
        owner = proposal.repository.partition("/")[0]
        found = await self._speaker.pages(
            f"/repos/{proposal.repository}/pulls",
            state="all",
            head=f"{owner}:{proposal.branch}",
            base=proposal.base,
            per_page=100,
        )
        ours = [_request(pull) for pull in found if _is_ours(pull)]
        return chosen(ours, proposal.commit_sha)

    async def create(self, proposal: Proposal) -> Request:
        """Open a pull request."""
        body = {
            "title": proposal.title,
            "head": proposal.branch,
            "base": proposal.base,
            "body": proposal.text,
        }
        try:
            made = await self._speaker.send("POST", f"/repos/{proposal.repository}/pulls", body)
        except RemoteRefused as error:
            if error.reason == "invalid_request" and _EXISTS in error.message:
                raise RemoteRefused(error.message, reason="request_exists") from error
            raise
        return _request(made)

    async def decorate(self, proposal: Proposal, number: int) -> Sequence[str]:
        """Add labels, which GitHub makes when they are new, and ask for reviews."""
        notes = []
        at = f"/repos/{proposal.repository}"
        wishes: tuple[tuple[str, str, Sequence[str]], ...] = (
            ("labels", f"{at}/issues/{number}/labels", proposal.labels),
            ("reviewers", f"{at}/pulls/{number}/requested_reviewers", proposal.reviewers),
        )
        for what, path, names in wishes:
            if names:
                try:
                    await self._speaker.send("POST", path, {what: list(names)})
                except RemoteRefused as error:
                    notes.append(f"{what} were not set: {error.message}")
        return notes

    async def get(self, repository: str, number: int) -> Request:
        """Return a pull request."""
        return _request(await self._speaker.get(f"/repos/{repository}/pulls/{number}"))


def _is_ours(pull: Any) -> bool:
    """Return whether a pull request is from the repository itself.

    An organisation can have forks of its own, which the listing does not tell apart; the
    repository of one that is gone is null.
    """
    source, target = (member(member(pull, end), "repo") for end in ("head", "base"))
    return source is not None and member(source, "id") == number(target, "id")


def _request(pull: Any) -> Request:
    return Request(
        number=number(pull, "number"),
        url=text(pull, "html_url"),
        state=_state(pull),
        head_sha=text(member(pull, "head"), "sha"),
    )


def _state(pull: Any) -> RequestState:
    if text(pull, "state") == "open":
        return RequestState.OPEN
    # Listings have no `merged`, single pull requests have both.
    merged = member(pull, "merged") is True or bool(member(pull, "merged_at"))
    return RequestState.MERGED if merged else RequestState.CLOSED
