"""What is asked of a forge, whichever it is: find or open a request, and see what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class RequestState(StrEnum):
    """What became of a pull or merge request."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A pull or merge request, as its forge tells it."""

    number: int
    url: str
    state: RequestState
    head_sha: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A request as it is to be; `repository` is its path on the forge."""

    repository: str
    branch: str
    base: str
    commit_sha: str
    title: str
    text: str
    labels: Sequence[str] = ()
    reviewers: Sequence[str] = ()


class Forge(Protocol):
    """One forge; every method raises `RemoteRefused` and `RemoteUnavailable`."""

    async def find(self, proposal: Proposal) -> Request | None:
        """Return the request from this branch to this base: an open one, or one of this commit.

        Both are branches of the repository itself; what strangers propose from forks is not ours.
        """
        ...

    async def create(self, proposal: Proposal) -> Request:
        """Open a request; `RemoteRefused` for `request_exists` when there is one."""
        ...

    async def decorate(self, proposal: Proposal, number: int) -> Sequence[str]:
        """Add labels and reviewers; return what could not be had, in words."""
        ...

    async def get(self, repository: str, number: int) -> Request:
        """Return a request."""
        ...


def chosen(found: Sequence[Request], commit_sha: str) -> Request | None:
    """Return which of a branch's requests is meant: the open one, else one of this very commit.

    An open one may be of another commit; whoever takes it must look.
    """
    still_open = [one for one in found if one.state is RequestState.OPEN]
    ours = [one for one in found if one.head_sha == commit_sha]
    return next(iter([*still_open, *ours]), None)
