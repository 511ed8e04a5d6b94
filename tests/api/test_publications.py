"""Publications over HTTP: asked for, listed, waited for, retried; every refusal with its reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from scheduler.config.publishing import ForgeSection
from scheduler.model import ChangeSetState, Publication, PublicationStatus
from scheduler.publishing.forges import Forges
from tests.clocks import ManualClock
from tests.service.planes import Plane, database, plane

REPO = "https://git.example/infra/site.git"
PUBLISH = "/v1/change-sets/CHG-1/publications"
WISH = {"repo_url": REPO, "branch": "change/one"}


@pytest.fixture
async def cloud(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Plane]:
    """A plane that knows one forge and has one change set."""
    section = ForgeSection.model_validate(
        {"name": "git", "kind": "gitea", "url": "https://git.example"}
    )
    forges = Forges((section,), clock)
    async with plane(database(tmp_path), clock, forges=forges) as opened:
        await opened.change_set()
        yield opened


async def become(cloud: Plane, id: str, status: PublicationStatus, **fields: str) -> Publication:
    """Record what the loop would have done."""
    done = await cloud.store.submit(lambda tx: tx.publications.set_status(id, status, **fields))
    cloud.journal.poke()
    return done


async def test_a_change_set_is_published(http: httpx2.AsyncClient, cloud: Plane) -> None:
    answer = await http.post(PUBLISH, json=WISH, headers={"idempotency-key": "k1"})
    made = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/publications/{made['id']}"
    assert (made["status"], made["forge"], made["folder"]) == ("PENDING", "git", "sandboxd/JOB-1")
    assert made["title"] == "Apply change set CHG-1 of job JOB-1"
    assert made["id"] in cloud.woken
    again = await http.post(PUBLISH, json=WISH, headers={"idempotency-key": "k1"})
    assert (again.headers["idempotency-replayed"], again.json()) == ("true", made)
    same = await http.post(PUBLISH, json={**WISH, "title": "another"})
    assert (same.status_code, same.json()["id"]) == (202, made["id"])
    await become(cloud, made["id"], PublicationStatus.COMMITTED, commit_sha="a" * 40)
    await become(cloud, made["id"], PublicationStatus.PR_CREATED, pr_url="https://git.example/1")
    waited = (await http.get(f"/v1/publications/{made['id']}?wait=5s")).json()
    assert (waited["status"], waited["pr_url"]) == ("PR_CREATED", "https://git.example/1")


async def test_publications_are_listed(http: httpx2.AsyncClient) -> None:
    first = (await http.post(PUBLISH, json=WISH)).json()["id"]
    second = (await http.post(PUBLISH, json={**WISH, "branch": "change/two"})).json()["id"]
    page = (await http.get("/v1/publications", params={"limit": 1})).json()
    assert page["next_cursor"]
    rest = (await http.get("/v1/publications", params={"cursor": page["next_cursor"]})).json()
    assert {one["id"] for one in (*page["items"], *rest["items"])} == {first, second}
    for query, found in (
        ({"job_id": "JOB-1"}, 2),
        ({"status": "MERGED"}, 0),
        ({"change_set_id": "CHG-2"}, 0),
    ):
        assert len((await http.get("/v1/publications", params=query)).json()["items"]) == found
    assert (await http.get("/v1/publications/PUB-9")).status_code == 404


async def test_a_failed_one_is_retried_and_another_is_not(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    made = (await http.post(PUBLISH, json=WISH)).json()
    retry = f"/v1/publications/{made['id']}/retry"
    early = await http.post(retry)
    assert (early.status_code, early.json()["status"]) == (409, 409)
    await become(cloud, made["id"], PublicationStatus.FAILED, error_msg="no net")
    again = await http.post(retry)
    assert (again.status_code, again.json()["status"]) == (202, "PENDING")
    assert (await http.post("/v1/publications/PUB-9/retry")).status_code == 404


async def test_a_wish_that_cannot_be_granted_is_refused(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    missing = await http.post("/v1/change-sets/CHG-9/publications", json=WISH)
    assert missing.status_code == 404
    elsewhere = await http.post(PUBLISH, json={**WISH, "repo_url": "https://evil.example/a/b"})
    assert (elsewhere.status_code, elsewhere.json()["errors"][0]["path"]) == (422, "repo_url")
    assert "known: https://git.example" in elsewhere.json()["remediation"]
    await cloud.change_set(2, job="job:1")
    unnamed = await http.post("/v1/change-sets/CHG-2/publications", json=WISH)
    assert (unnamed.status_code, unnamed.json()["errors"][0]["path"]) == (422, "folder")
    await cloud.change_set(3)
    await http.post(PUBLISH, json=WISH)
    taken = await http.post("/v1/change-sets/CHG-3/publications", json=WISH)
    assert (taken.status_code, taken.json()["code"]) == (409, "conflict")


BAD: tuple[dict[str, object], ...] = (
    {"repo_url": "https://user:secret@git.example/a/b"},
    {"repo_url": "file:///etc"},
    {"branch": "-x"},
    {"branch": "a..b"},
    {"base": "change/one"},
    {"base": "refs/../x"},
    {"folder": "../outside"},
    {"folder": ".git/hooks"},
    {"title": "two\nlines"},
    {"title": "x" * 201},
    {"message": "\x1b[31m"},
    {"labels": ["a,b"]},
    {"labels": ["x"] * 21},
    {"reviewers": ["-ana"]},
    {"verify": "yes"},
)


async def test_every_field_is_checked(http: httpx2.AsyncClient) -> None:
    for fields in BAD:
        answer = await http.post(PUBLISH, json=WISH | fields)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), fields
        assert answer.json()["remediation"]
        assert "secret" not in answer.text


async def test_what_no_verification_proved_is_published_only_when_told(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    await cloud.change_set(2, verified=False)
    path = "/v1/change-sets/CHG-2/publications"
    refused = await http.post(path, json=WISH)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "was not verified" in refused.json()["detail"]
    assert "changeset verify CHG-2" in refused.json()["remediation"]
    wish = {**WISH, "branch": "change/two", "unverified": True}
    assert (await http.post(path, json=wish)).status_code == 202


async def test_what_is_not_written_yet_is_not_published(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    made = await cloud.change_set(3)
    pending = replace(made, state=ChangeSetState.PENDING)
    await cloud.store.submit(lambda tx: tx.change_sets.replace(pending, expected=made.state))
    refused = await http.post("/v1/change-sets/CHG-3/publications", json=WISH)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "is PENDING" in refused.json()["detail"]
