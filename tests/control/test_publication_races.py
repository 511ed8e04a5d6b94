"""Publications while others work on the same repository, and forges that are slow or say no."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from scheduler.errors import Conflict
from scheduler.model import Publication, PublicationStatus
from tests.clocks import ManualClock
from tests.control.publishing import Desk, desk
from tests.publishing.dialects import Reply
from tests.publishing.house import House, git, opened

FAILED, MERGED = PublicationStatus.FAILED, PublicationStatus.MERGED
COMMITTED, PR_CREATED = PublicationStatus.COMMITTED, PublicationStatus.PR_CREATED


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with opened(tmp_path / "house") as running:
        yield running


@pytest.fixture
async def there(tmp_path: Path, house: House) -> AsyncIterator[Desk]:
    async with desk(tmp_path, house, ManualClock()) as made:
        yield made


async def test_a_branch_that_appears_just_before_the_push_is_not_written_over(
    there: Desk, house: House
) -> None:
    """The server itself is asked to refuse: nobody was there when we looked."""
    theirs: list[str] = []

    def meanwhile(path: str) -> None:
        if path.endswith("/git-receive-pack") and not theirs:
            theirs.append(house.write("site", {"theirs": "x"}, branch="change/one"))

    house.before_git = meanwhile
    done = await there.settle(await there.wish())
    assert (done.status, done.reason_code) == (FAILED, "branch_taken"), done.error_msg
    assert [house.head("change/one")] == theirs
    assert house.dialect.requests == {}


async def test_two_change_sets_of_a_job_that_want_one_branch_at_once(there: Desk) -> None:
    await there.plane.change_set(2)
    ended = await asyncio.gather(
        *(there.wish(number=number) for number in (1, 2)), return_exceptions=True
    )
    assert {type(one) for one in ended} == {Conflict, Publication}
    (refused,) = [one for one in ended if isinstance(one, Conflict)]
    assert "published change set" in refused.message


@pytest.mark.parametrize("how", ["forced", "amended"])
async def test_what_reviewers_push_to_an_open_request_is_theirs(
    there: Desk, house: House, how: str
) -> None:
    done = await there.settle(await there.wish())
    if how == "forced":
        git("update-ref", "-d", "refs/heads/change/one", at=house.repository())
    theirs = house.write("site", {"theirs": "x"}, branch="change/one")
    followed = await there.followed(done)
    assert (followed.status, house.head("change/one")) == (PR_CREATED, theirs)
    house.merge(done.pr_number or 0)
    assert (await there.followed(followed)).status is MERGED


async def test_a_branch_deleted_under_an_open_request_ends_as_the_forge_says(
    there: Desk, house: House
) -> None:
    """Forges close such a request; opened again, with its branch, it is followed on."""
    done = await there.settle(await there.wish())
    git("update-ref", "-d", "refs/heads/change/one", at=house.repository())
    house.dialect.requests[1].state = "closed"
    closed = await there.followed(done)
    assert (closed.status, closed.reason_code) == (FAILED, "closed")
    assert len(house.dialect.requests) == 1


async def test_a_rate_limit_while_a_request_is_followed_loses_nothing(
    there: Desk, house: House
) -> None:
    done = await there.settle(await there.wish())
    house.replies.append(Reply(403, {"message": "slow down"}, {"retry-after": "120"}))
    assert await there.publisher().publish(done.id) == 120.0
    limited = await there.get(done)
    assert (limited.status, limited.reason_code) == (PR_CREATED, "deferred")
    house.merge(1)
    assert (await there.followed(limited)).status is MERGED


async def test_a_forge_that_lets_nobody_open_requests_is_told_in_its_words(
    there: Desk, house: House
) -> None:
    wish = await there.wish()
    assert await there.publisher().publish(wish.id) == 0.0
    assert (await there.get(wish)).status is COMMITTED
    said = {"message": "Resource not accessible by personal access token"}
    answer = house.dialect.answer

    def forbidding(method: str, path: str, query: Mapping[str, str], body: object) -> Reply:
        return Reply(403, said) if method == "POST" else answer(method, path, query, body)

    house.dialect.answer = forbidding  # type: ignore[method-assign]
    done = await there.settle(wish)
    house.dialect.answer = answer  # type: ignore[method-assign]
    assert (done.status, done.reason_code) == (FAILED, "unauthorised")
    assert said["message"] in (done.error_msg or "")
    assert (await there.retry(done)).status is PR_CREATED
