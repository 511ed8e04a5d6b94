"""Publications: forward only, nothing erased, and a failed one resumes where it was."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from typing import Any

import pytest

from scheduler.errors import AlreadyExists, Conflict, NotFound
from scheduler.model import Publication, PublicationStatus
from scheduler.store import PublicationFilter, Store, Transaction
from tests.clocks import ManualClock
from tests.store.samples import later, publication

PENDING, COMMITTED = PublicationStatus.PENDING, PublicationStatus.COMMITTED
PR_CREATED, MERGED = PublicationStatus.PR_CREATED, PublicationStatus.MERGED
FAILED = PublicationStatus.FAILED
FORWARD = (PENDING, COMMITTED, PR_CREATED, MERGED)


async def told(store: Store, id: str, status: PublicationStatus, **given: Any) -> Publication:
    return await store.submit(lambda tx: tx.publications.set_status(id, status, **given))


def add(tx: Transaction, one: Publication) -> Publication:
    return tx.publications.add(one)


async def test_a_job_has_one_publication_a_branch(store: Store) -> None:
    await store.submit(lambda tx: tx.publications.add(publication("PUB-1", branch="b")))
    with pytest.raises(AlreadyExists):
        await store.submit(lambda tx: tx.publications.add(publication("PUB-2", branch="b")))
    await store.submit(
        lambda tx: tx.publications.add(publication("PUB-2", branch="b", job_id="JOB-2"))
    )
    page = await store.read(lambda tx: tx.publications.find(PublicationFilter(job_id="JOB-2")))
    assert [one.id for one in page.items] == ["PUB-2"]
    with pytest.raises(NotFound):
        await told(store, "PUB-9", COMMITTED)


async def test_a_branch_is_found_and_what_is_unsettled(store: Store) -> None:
    for number, status in enumerate((*FORWARD, FAILED)):
        one = publication(f"PUB-{number}", status=status, change_set_id=f"CHG-{number}")
        await store.submit(partial(add, one=one))
    assert await store.read(lambda tx: tx.publications.unsettled()) == ("PUB-0", "PUB-1", "PUB-2")
    first = await store.read(lambda tx: tx.publications.get("PUB-0"))

    def by_branch(branch: str) -> Any:
        return lambda tx: tx.publications.by_branch("JOB-1", first.repo_url, branch)

    assert await store.read(by_branch(first.branch)) == first
    assert await store.read(by_branch("other")) is None
    wanted = PublicationFilter(change_set_id="CHG-3", status=MERGED)
    page = await store.read(lambda tx: tx.publications.find(wanted))
    assert [one.id for one in page.items] == ["PUB-3"]


async def test_i7_who_read_an_older_one_cannot_write_over_it(store: Store) -> None:
    old = await store.submit(lambda tx: tx.publications.add(publication()))
    planned = replace(old, planned_sha="abc", labels=("a", "b"), notes=("n",), attempts=1)
    new = await store.submit(lambda tx: tx.publications.replace(planned, before=old))
    assert (new.generation, new.labels) == (2, ("a", "b"))
    assert await store.read(lambda tx: tx.publications.get(old.id)) == new
    with pytest.raises(Conflict, match="has moved on meanwhile: it is PENDING"):
        await store.submit(lambda tx: tx.publications.replace(planned, before=old))
    done = replace(new, status=COMMITTED)
    with pytest.raises(Conflict, match="cannot become PENDING"):
        await store.submit(lambda tx: tx.publications.replace(new, before=done))


async def test_what_is_not_given_is_never_erased(store: Store, clock: ManualClock) -> None:
    await store.submit(lambda tx: tx.publications.add(publication()))
    await told(store, "PUB-1", COMMITTED, commit_sha="abc")
    clock.advance(3)
    done = await told(store, "PUB-1", PR_CREATED, pr_url="https://forge.example/1")
    assert (done.commit_sha, done.pr_url, done.status) == ("abc", done.pr_url, PR_CREATED)
    assert done.updated_at == later(3)
    assert await store.read(lambda tx: tx.publications.get("PUB-1")) == done
    cleared = await told(store, "PUB-1", PR_CREATED, error_msg=None, commit_sha=None)
    assert cleared.commit_sha is None


@pytest.mark.parametrize(("later_one", "earlier"), [(b, a) for a, b in pairwise(FORWARD)])
async def test_the_status_never_moves_backward(
    store: Store, later_one: PublicationStatus, earlier: PublicationStatus
) -> None:
    await store.submit(partial(add, one=publication(status=later_one)))
    with pytest.raises(Conflict, match=f"is {later_one} and cannot become {earlier}"):
        await told(store, "PUB-1", earlier)


async def test_every_step_forward_is_taken_and_merged_cannot_fail(store: Store) -> None:
    for old, new in product(FORWARD, (*FORWARD, FAILED)):
        id = f"PUB-{old}-{new}"
        await store.submit(partial(add, one=publication(id, status=old)))
        possible = old is not MERGED if new is FAILED else FORWARD.index(new) >= FORWARD.index(old)
        if possible:
            assert (await told(store, id, new)).status is new
        else:
            with pytest.raises(Conflict):
                await told(store, id, new)


@pytest.mark.parametrize(
    ("commit_sha", "pr_url", "resumed"),
    [
        (None, None, PENDING),
        ("abc", None, COMMITTED),
        ("abc", "https://forge.example/1", PR_CREATED),
    ],
)
async def test_a_failed_one_resumes_at_what_is_proven(
    store: Store, commit_sha: str | None, pr_url: str | None, resumed: PublicationStatus
) -> None:
    broken = publication(status=FAILED, commit_sha=commit_sha, pr_url=pr_url, error_msg="no net")
    await store.submit(partial(add, one=broken))
    again = await told(store, "PUB-1", PENDING)
    assert (again.status, again.error_msg) == (resumed, "no net")


async def test_a_failed_one_cannot_fall_behind_its_proof(store: Store) -> None:
    broken = publication(status=FAILED, commit_sha="abc", pr_url="https://forge.example/1")
    await store.submit(partial(add, one=broken))
    with pytest.raises(Conflict, match="FAILED and cannot become COMMITTED"):
        await told(store, "PUB-1", COMMITTED)
    assert (await told(store, "PUB-1", FAILED)).status is FAILED
    assert (await told(store, "PUB-1", MERGED)).status is MERGED
