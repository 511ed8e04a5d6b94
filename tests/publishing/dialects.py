"""Three forges' APIs as their public documents describe them, as far as they are used.

Paths, field names, status codes, pagination and error bodies are theirs; the requests behind them
are plain values that a test may change as a reviewer would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote, urlencode

Document = Any
REPOSITORY = "infra/site"
IDS = {REPOSITORY: 41, "mallory/site": 42, "infra/site-copy": 43}
"""The repositories that there are; the others are forks of the first."""


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    document: Document = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None


class Fault(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, document: Document) -> None:
        super().__init__(status)
        self.reply = Reply(status, document)


@dataclass
class One:
    """A pull or merge request."""

    number: int
    head: str
    base: str
    title: str
    text: str
    sha: str
    state: str = "open"
    source: str | None = REPOSITORY
    """Where its branch is; None when that was a fork that is gone."""
    labels: list[str] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)


@dataclass
class Dialect:
    """What all three have."""

    origin: str = ""
    base: str = ""
    requests: dict[int, One] = field(default_factory=dict)
    shas: Callable[[str], str | None] = lambda _branch: "0" * 40
    users: Mapping[str, int] = field(default_factory=lambda: {"ana": 7, "bo": 8})
    labels: Mapping[str, int] = field(default_factory=lambda: {"sandbox": 11, "infra": 12})
    page: int = 100

    def admits(self, headers: Mapping[str, str], token: str) -> bool:
        return headers.get("authorization", "") == f"Bearer {token}"

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Document) -> Reply:
        raise NotImplementedError

    def add(self, head: str, base: str = "main", **more: Any) -> One:
        """Put a request there."""
        number = len(self.requests) + 1
        sha = more.pop("sha", None) or self.shas(head) or "f" * 40
        given = {"title": "t", "text": ""} | more
        one = One(number=number, head=head, base=base, sha=sha, **given)
        self.requests[number] = one
        return one

    def opened(self, head: str, base: str) -> One | None:
        return next(
            (
                one
                for one in self.requests.values()
                if (one.head, one.base, one.state) == (head, base, "open")
                and one.source == REPOSITORY
            ),
            None,
        )

    def one(self, number: str) -> One:
        found = self.requests.get(int(number))
        if found is None:
            raise Fault(404, {"message": "Not Found"})
        return found

    def paged(
        self, path: str, query: Mapping[str, str], items: Sequence[Document], size: str
    ) -> Reply:
        """Answer one page, and where the next one is."""
        most = min(int(query.get(size, "20")), self.page)
        number = int(query.get("page", "1"))
        part = items[(number - 1) * most : number * most]
        headers = {}
        if number * most < len(items):
            following = urlencode({**query, "page": number + 1})
            last = urlencode({**query, "page": -(-len(items) // most)})
            at = f"{self.origin}{self.base}{path}"
            headers["link"] = f'<{at}?{following}>; rel="next", <{at}?{last}>; rel="last"'
        return Reply(200, part, headers)


@dataclass
class GitHubDialect(Dialect):
    base: str = "/api/v3"

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Document) -> Reply:
        at = f"/repos/{REPOSITORY}"
        if path == f"{at}/pulls" and method == "GET":
            owner, _, head = query["head"].partition(":")
            found = [
                self.shown(one)
                for one in reversed(self.requests.values())
                if (one.head, one.base) == (head, query["base"])
                and owner == (one.source or "ghost/").partition("/")[0]
                and (query["state"] == "all" or one.state == query["state"])
            ]
            return self.paged(path, query, found, "per_page")
        if path == f"{at}/pulls" and method == "POST":
            return self._create(body)
        if match := re.fullmatch(rf"{at}/pulls/(\d+)", path):
            return Reply(200, self.shown(self.one(match[1]), whole=True))
        if match := re.fullmatch(rf"{at}/issues/(\d+)/labels", path):
            self.one(match[1]).labels = list(body["labels"])
            return Reply(200, [{"name": name} for name in body["labels"]])
        if match := re.fullmatch(rf"{at}/pulls/(\d+)/requested_reviewers", path):
            return self._review(self.one(match[1]), body["reviewers"])
        raise Fault(404, {"message": "Not Found", "documentation_url": "https://docs.example"})

    def _create(self, body: Document) -> Reply:
        failed = {"message": "Validation Failed"}
        if self.opened(body["head"], body["base"]):
            error = {"resource": "PullRequest", "code": "custom"}
            error["message"] = f"A pull request already exists for infra:{body['head']}."
            raise Fault(422, {**failed, "errors": [error]})
        if self.shas(body["head"]) is None:
            error = {"resource": "PullRequest", "field": "head", "code": "invalid"}
            raise Fault(422, {**failed, "errors": [error]})
        one = self.add(body["head"], body["base"], title=body["title"], text=body["body"])
        return Reply(201, self.shown(one, whole=True))

    def _review(self, one: One, names: Sequence[str]) -> Reply:
        if set(names) - set(self.users):
            raise Fault(
                422,
                {"message": "Reviews may only be requested from collaborators."},
            )
        one.reviewers = list(names)
        return Reply(201, self.shown(one, whole=True))

    def shown(self, one: One, *, whole: bool = False) -> Document:
        merged = one.state == "merged"
        told = {
            "number": one.number,
            "html_url": f"{self.origin}/{REPOSITORY}/pull/{one.number}",
            "state": "open" if one.state == "open" else "closed",
            "merged_at": "2026-01-05T12:00:00Z" if merged else None,
            "head": {"ref": one.head, "sha": one.sha, "repo": _repository(one.source)},
            "base": {"ref": one.base, "repo": _repository(REPOSITORY)},
        }
        return {**told, "merged": merged} if whole else told


@dataclass
class GitLabDialect(Dialect):
    base: str = "/api/v4"

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Document) -> Reply:
        at = "/projects/infra%2Fsite/merge_requests"
        if path == "/users":
            known = self.users.get(query["username"])
            found = [] if known is None else [{"id": known, "username": query["username"]}]
            return self.paged(path, query, found, "per_page")
        if path == at and method == "GET":
            found = [
                self.shown(one)
                for one in reversed(self.requests.values())
                if (one.head, one.base) == (query["source_branch"], query["target_branch"])
            ]
            return self.paged(path, query, found, "per_page")
        if path == at and method == "POST":
            return self._create(body)
        if match := re.fullmatch(rf"{at}/(\d+)", path):
            one = self.one(match[1])
            if method == "PUT":
                one.labels += [name for name in body.get("add_labels", "").split(",") if name]
                names = {number: name for name, number in self.users.items()}
                one.reviewers = [names[number] for number in body.get("reviewer_ids", [])]
            return Reply(200, self.shown(one))
        raise Fault(404, {"message": f"404 Not Found {unquote(path)}"})

    def _create(self, body: Document) -> Reply:
        twin = self.opened(body["source_branch"], body["target_branch"])
        if twin is not None:
            told = "Another open merge request already exists for this source branch: "
            raise Fault(409, {"message": [f"{told}!{twin.number}"]})
        if self.shas(body["source_branch"]) is None:
            raise Fault(400, {"message": {"base": ["Source branch does not exist"]}})
        one = self.add(
            body["source_branch"],
            body["target_branch"],
            title=body["title"],
            text=body["description"],
        )
        return Reply(201, self.shown(one))

    def shown(self, one: One) -> Document:
        return {
            "id": 1000 + one.number,
            "iid": one.number,
            "web_url": f"{self.origin}/{REPOSITORY}/-/merge_requests/{one.number}",
            "state": {"open": "opened"}.get(one.state, one.state),
            "source_branch": one.head,
            "target_branch": one.base,
            "source_project_id": IDS.get(one.source or ""),
            "target_project_id": IDS[REPOSITORY],
            "sha": one.sha or None,
        }


@dataclass
class GiteaDialect(Dialect):
    base: str = "/api/v1"
    page: int = 50

    def admits(self, headers: Mapping[str, str], token: str) -> bool:
        return headers.get("authorization", "") == f"token {token}"

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Document) -> Reply:
        at = f"/repos/{REPOSITORY}"
        if path == f"{at}/pulls" and method == "GET":
            wanted = query.get("state", "open")
            found = [
                self.shown(one)
                for one in reversed(self.requests.values())
                if wanted == "all" or (one.state == "open") is (wanted == "open")
            ]
            return self.paged(path, query, found, "limit")
        if path == f"{at}/pulls" and method == "POST":
            return self._create(body)
        if path == f"{at}/labels":
            known = [{"id": number, "name": name} for name, number in self.labels.items()]
            return self.paged(path, query, known, "limit")
        if match := re.fullmatch(rf"{at}/pulls/(\d+)", path):
            return Reply(200, self.shown(self.one(match[1])))
        if match := re.fullmatch(rf"{at}/issues/(\d+)/labels", path):
            names = {number: name for name, number in self.labels.items()}
            self.one(match[1]).labels = [names[number] for number in body["labels"]]
            return Reply(200, [])
        if match := re.fullmatch(rf"{at}/pulls/(\d+)/requested_reviewers", path):
            if set(body["reviewers"]) - set(self.users):
                raise Fault(404, {"message": "user does not exist", "url": "https://docs"})
            self.one(match[1]).reviewers = list(body["reviewers"])
            return Reply(201, [])
        raise Fault(404, {"message": "Not Found", "errors": []})

    def _create(self, body: Document) -> Reply:
        twin = self.opened(body["head"], body["base"])
        if twin is not None:
            told = f"pull request already exists for these targets [id: {twin.number}]"
            raise Fault(409, {"message": told, "url": "https://docs"})
        if self.shas(body["head"]) is None:
            raise Fault(404, {"message": "The target couldn't be found."})
        one = self.add(body["head"], body["base"], title=body["title"], text=body["body"])
        return Reply(201, self.shown(one))

    def shown(self, one: One) -> Document:
        there = one.source is not None and self.shas(one.head) is not None
        return {
            "number": one.number,
            "html_url": f"{self.origin}/{REPOSITORY}/pulls/{one.number}",
            "state": "open" if one.state == "open" else "closed",
            "merged": one.state == "merged",
            "head": {
                "label": one.head,
                "ref": one.head if there else f"refs/pull/{one.number}/head",
                "sha": one.sha,
                "repo_id": IDS.get(one.source or "", -1),
                "repo": _repository(one.source),
            },
            "base": {
                "label": one.base,
                "ref": one.base,
                "repo_id": IDS[REPOSITORY],
                "repo": _repository(REPOSITORY),
            },
        }


def _repository(name: str | None) -> Document:
    return None if name is None else {"id": IDS[name], "full_name": name}


class Make(Protocol):
    def __call__(self) -> Dialect: ...


DIALECTS: Mapping[str, Make] = {
    "github": GitHubDialect,
    "gitlab": GitLabDialect,
    "gitea": GiteaDialect,
}
