"""Publications on a real git server and forges that answer like the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from scheduler.errors import Conflict
from scheduler.model import PublicationStatus
from tests.clocks import ManualClock
from tests.control.publishing import Desk, Died, Fuse, desk
from tests.publishing.dialects import DIALECTS, Reply
from tests.publishing.house import House, git, opened

FAILED = PublicationStatus.FAILED
PENDING, COMMITTED = PublicationStatus.PENDING, PublicationStatus.COMMITTED
PR_CREATED, MERGED = PublicationStatus.PR_CREATED, PublicationStatus.MERGED


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with opened(tmp_path / "house") as running:
        yield running


@pytest.fixture
async def there(tmp_path: Path, house: House) -> AsyncIterator[Desk]:
    async with desk(tmp_path, house, ManualClock()) as made:
        yield made


@pytest.mark.parametrize("kind", DIALECTS)
async def test_the_whole_way_to_merged(tmp_path: Path, kind: str) -> None:
    with opened(tmp_path / "house", kind) as house:
        async with desk(tmp_path, house, ManualClock()) as there:
            wish = await there.wish(
                title="Apply it", message="Why it is", labels=["sandbox"], reviewers=["ana"]
            )
            assert (wish.status, wish.forge, wish.base) == (PENDING, "forge", None)
            done = await there.settle(wish)
            assert (done.status, done.base, done.notes) == (PR_CREATED, "main", ())
            assert done.commit_sha == house.head("change/one")
            one = house.dialect.requests[done.pr_number or 0]
            assert done.pr_url == f"{house.url}/infra/site/{done.pr_url.rpartition('site/')[2]}"  # type: ignore[union-attr]
            assert (one.title, one.labels, one.reviewers) == ("Apply it", ["sandbox"], ["ana"])
            assert one.text.startswith("Why it is\n\n- change set `CHG-1` of job `JOB-1`\n")
            assert set(house.files("change/one")) == {
                "README",
                "sandboxd/JOB-1/REVIEW.md",
                "sandboxd/JOB-1/ansible/site.yml",
            }
            message = git("log", "-1", "--format=%B", str(done.commit_sha), at=house.repository())
            assert message == "Apply it\n\nWhy it is\n\nChange-Set: CHG-1\nJob: JOB-1"
            assert (await there.followed(done)).status is PR_CREATED
            house.merge(one.number)
            assert (await there.followed(done)).status is MERGED
            assert await there.publisher().publish(done.id) is None
            kinds = [event.kind for event in await there.events(done)]
            assert kinds == [
                f"publication.{name}"
                for name in ("requested", "planned", "committed", "pr_created", "merged")
            ]
            assert {event.sandbox_id for event in await there.events(done)} == {"SBX-1"}
            assert await there.publisher().pending() == ()


async def test_a_closed_request_fails_and_may_be_reopened(there: Desk, house: House) -> None:
    done = await there.settle(await there.wish())
    one = house.dialect.requests[1]
    one.state = "closed"
    closed = await there.followed(done)
    assert (closed.status, closed.reason_code) == (FAILED, "closed")
    assert "closed without being merged" in (closed.error_msg or "")
    one.state = "open"
    assert (await there.retry(closed)).status is PR_CREATED
    one.state = "merged"
    assert (await there.followed(closed)).status is MERGED
    with pytest.raises(Conflict, match="nothing to retry"):
        await there.retry(closed)


async def test_the_same_wish_is_one_publication_and_another_is_refused(there: Desk) -> None:
    first = await there.wish()
    wishes = await asyncio.gather(*(there.wish() for _ in range(8)))
    assert {one.id for one in wishes} == {first.id}
    await there.plane.change_set(2)
    with pytest.raises(Conflict, match=f"published change set CHG-1 to change/one: .*{first.id}"):
        await there.wish(number=2)
    assert (await there.wish("change/two", number=2)).id != first.id


async def test_several_publications_of_one_job_at_once(there: Desk, house: House) -> None:
    publisher = there.publisher()
    wishes = [await there.wish(f"change/{number}") for number in range(4)]
    done = await asyncio.gather(*(there.settle(one, publisher) for one in wishes))
    assert {one.status for one in done} == {PR_CREATED}
    assert len(house.dialect.requests) == 4
    assert len({house.head(one.branch) for one in done}) == 1


async def test_a_branch_of_somebody_else_is_not_touched(there: Desk, house: House) -> None:
    theirs = house.write("site", {"theirs": "x"}, branch="change/one")
    done = await there.settle(await there.wish())
    assert (done.status, done.reason_code) == (FAILED, "branch_taken")
    assert house.head("change/one") == theirs
    git("update-ref", "-d", "refs/heads/change/one", at=house.repository())
    assert (await there.retry(done)).status is PR_CREATED


async def test_a_protected_branch_fails_with_the_servers_words(there: Desk, house: House) -> None:
    house.hook("echo 'signed commits only' >&2; exit 1")
    done = await there.settle(await there.wish())
    assert (done.status, done.reason_code) == (FAILED, "rejected")
    assert "pre-receive hook declined" in (done.error_msg or "")
    house.hook("exit 0")
    assert (await there.retry(done)).status is PR_CREATED


async def committed(there: Desk, house: House) -> str:
    """Bring a publication to COMMITTED; return its id."""
    wish = await there.wish()
    assert await there.publisher().publish(wish.id) == 0.0
    assert (await there.get(wish)).status is COMMITTED
    return wish.id


async def test_a_branch_that_somebody_changed_is_not_proposed(there: Desk, house: House) -> None:
    id = await committed(there, house)
    ours = house.head("change/one")
    house.write("site", {"theirs": "x"}, branch="change/one")
    diverged = await there.settle(await there.plane.services.publications.get(id))
    assert (diverged.status, diverged.reason_code) == (FAILED, "diverged")
    assert house.dialect.requests == {}
    git("update-ref", "refs/heads/change/one", str(ours), at=house.repository())
    assert (await there.retry(diverged)).status is PR_CREATED


async def test_a_branch_that_was_removed_is_made_again_by_a_retry(
    there: Desk, house: House
) -> None:
    id = await committed(there, house)
    git("update-ref", "-d", "refs/heads/change/one", at=house.repository())
    gone = await there.settle(await there.plane.services.publications.get(id))
    assert (gone.status, gone.reason_code, gone.commit_sha) == (FAILED, "branch_gone", None)
    house.write("site", {"newer": "x"})
    assert (await there.retry(gone)).status is PR_CREATED
    assert "newer" in house.files("change/one")


async def test_a_base_that_was_rewritten_is_built_on_anew(there: Desk, house: House) -> None:
    wish = await there.wish()
    fuse = Fuse()
    with pytest.raises(Died):
        await there.publisher(_at(fuse, "git.push.before")).publish(wish.id)
    planned = await there.get(wish)
    assert planned.planned_sha is not None
    git("update-ref", "-d", "refs/heads/main", at=house.repository())
    house.write("site", {"new": "history\n"})
    done = await there.settle(wish)
    assert (done.status, done.reason_code) == (PR_CREATED, None)
    assert done.planned_sha != planned.planned_sha
    assert "README" not in house.files("change/one")


def _at(fuse: Fuse, point: str) -> Fuse:
    """A fuse that blows at the first time a point is reached."""

    class Named(Fuse):
        def reached(self, at: str) -> None:
            self.trace.append(at)
            if at == point:
                raise Died(at)

    return Named(trace=fuse.trace)


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [(Reply(503, {"message": "tired"}), 5.0), (Reply(429, {}, {"retry-after": "77"}), 77.0)],
)
async def test_a_forge_that_asks_for_patience_is_given_it(
    there: Desk, house: House, reply: Reply, seconds: float
) -> None:
    id = await committed(there, house)
    house.replies.append(reply)
    assert await there.publisher().publish(id) == seconds
    waiting = await there.plane.services.publications.get(id)
    assert (waiting.status, waiting.attempts, waiting.reason_code) == (COMMITTED, 1, "deferred")
    assert await there.publisher().publish(id) == seconds
    there.clock.advance(seconds)
    assert (await there.settle(waiting)).attempts == 0


async def test_patience_ends(there: Desk, house: House) -> None:
    id = await committed(there, house)
    house.replies.extend(Reply(500, {"message": "broken"}) for _ in range(4))
    done = await there.settle(await there.plane.services.publications.get(id))
    assert (done.status, done.reason_code, done.attempts) == (FAILED, "attempts_exhausted", 4)
    assert "given up after 4 attempts; the last: " in (done.error_msg or "")
    assert [event.kind for event in await there.events(done)][-4:] == [
        *["publication.deferred"] * 3,
        "publication.failed",
    ]
    assert (await there.retry(done)).status is PR_CREATED


async def test_a_request_is_followed_while_its_forge_is_away(there: Desk, house: House) -> None:
    done = await there.settle(await there.wish())
    there.clock.advance(await there.publisher().publish(done.id) or 0.0)
    for attempts in range(1, 12):
        house.replies.append(Reply(502, {"message": "down"}))
        there.clock.advance(await there.publisher().publish(done.id) or 0.0)
        waiting = await there.get(done)
        assert (waiting.status, waiting.attempts) == (PR_CREATED, attempts)
        assert "502: down" in (waiting.error_msg or "")
    kinds = [event.kind for event in await there.events(done)]
    assert kinds.count("publication.deferred") == 1
    house.merge(done.pr_number or 0)
    await there.publisher().publish(done.id)
    assert (await there.get(done)).status is MERGED


async def test_what_cannot_be_published_says_why(there: Desk, house: House) -> None:
    missing = await there.settle(await there.wish("one", base="absent"))
    assert (missing.status, missing.reason_code) == (FAILED, "base_missing")
    there.sections = ()
    away = await there.settle(await there.wish("two"))
    assert (away.status, away.reason_code) == (FAILED, "no_forge")
    assert await there.publisher().publish("PUB-9") is None


async def test_a_job_whose_name_is_no_folder_needs_one(there: Desk) -> None:
    await there.plane.change_set(3, job="job:..")
    done = await there.settle(await there.wish(number=3, folder="roles/web"))
    assert (done.status, done.reason_code) == (FAILED, "change_set_unpublishable")


async def test_a_twin_request_that_appears_meanwhile_is_taken(there: Desk, house: House) -> None:
    id = await committed(there, house)
    house.replies.append(Reply(200, []))
    house.dialect.add("change/one")
    done = await there.settle(await there.plane.services.publications.get(id))
    assert (done.status, done.pr_number, len(house.dialect.requests)) == (PR_CREATED, 1, 1)


async def test_a_request_for_what_somebody_else_pushed_is_not_taken(
    there: Desk, house: House
) -> None:
    wish = await there.wish(labels=["sandbox"])
    assert await there.publisher().publish(wish.id) == 0.0
    ours = house.head("change/one")
    house.write("site", {"theirs": "x"}, branch="change/one")
    theirs = house.dialect.add("change/one")
    diverged = await there.settle(await there.get(wish))
    assert (diverged.status, diverged.reason_code) == (FAILED, "diverged")
    assert (diverged.pr_number, theirs.labels) == (None, [])
    git("update-ref", "refs/heads/change/one", str(ours), at=house.repository())
    theirs.sha = str(ours)
    assert (await there.retry(diverged)).pr_number == theirs.number


async def test_a_forge_that_has_not_seen_the_push_yet_is_asked_again(
    there: Desk, house: House
) -> None:
    """GitLab keeps a request whose branch was removed open, and looks at the new one later."""
    wish = await there.wish(labels=["sandbox"])
    assert await there.publisher().publish(wish.id) == 0.0
    one = house.dialect.add("change/one", sha="b" * 40)
    assert await there.publisher().publish(wish.id) == 5.0
    waiting = await there.get(wish)
    assert (waiting.status, waiting.reason_code, one.labels) == (COMMITTED, "deferred", [])
    assert f"{'b' * 12} still" in (waiting.error_msg or "")
    one.sha = str(house.head("change/one"))
    there.clock.advance(5.0)
    done = await there.settle(waiting)
    assert (done.status, done.pr_number, one.labels) == (PR_CREATED, one.number, ["sandbox"])


async def test_a_request_of_which_no_commit_is_told_is_judged_by_its_branch(
    tmp_path: Path,
) -> None:
    with opened(tmp_path / "house", "gitlab") as house:
        async with desk(tmp_path, house, ManualClock()) as there:
            id = await committed(there, house)
            house.dialect.add("change/one").sha = ""
            done = await there.settle(await there.plane.services.publications.get(id))
            assert (done.status, done.pr_number) == (PR_CREATED, 1)


async def test_a_request_that_was_merged_before_anybody_looked_is_found(
    there: Desk, house: House
) -> None:
    id = await committed(there, house)
    house.dialect.add("change/one")
    house.merge(1)
    done = await there.settle(await there.plane.services.publications.get(id))
    assert (done.status, done.pr_number) == (PR_CREATED, 1)
    assert (await there.followed(done)).status is MERGED


KEY_POINTS = (
    ("commit.after", 1),
    ("git.push.after", 1),
    ("forge.create.after", 1),
    ("commit.before", 3),
)


async def trace_of(there: Desk, branch: str) -> list[str]:
    """Return the points on the way to an open request."""
    fuse = Fuse()
    await there.settle(await there.wish(branch), there.publisher(fuse))
    return fuse.trace


async def dies_and_recovers(there: Desk, house: House, branch: str, at: int) -> None:
    """Die at a point, go on, and prove that everything was done once."""
    wish = await there.wish(branch, labels=["sandbox"])
    with pytest.raises(Died):
        await there.settle(wish, there.publisher(Fuse(at=at)))
    assert wish.id in await there.publisher().pending()
    done = await there.settle(wish)
    assert done.status is PR_CREATED
    ours = [one for one in house.dialect.requests.values() if one.head == branch]
    assert [(one.number, one.labels) for one in ours] == [(done.pr_number, ["sandbox"])]
    assert house.head(branch) == done.commit_sha == done.planned_sha
    counted = git("rev-list", "--count", f"main..{branch}", at=house.repository())
    assert counted == "1"
    house.merge(ours[0].number)
    assert (await there.followed(done)).status is MERGED
    kinds = [event.kind for event in await there.events(done)]
    assert sorted(set(kinds)) == sorted(kinds)
    git("update-ref", "refs/heads/main", f"{done.base_sha}", at=house.repository())


@pytest.mark.parametrize(("point", "nth"), KEY_POINTS)
async def test_a_death_costs_a_look_and_nothing_twice(
    there: Desk, house: House, point: str, nth: int
) -> None:
    trace = await trace_of(there, "watched")
    at = [index for index, name in enumerate(trace, 1) if name == point][nth - 1]
    await dies_and_recovers(there, house, "change/one", at)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_death_at_any_point_costs_a_look_and_nothing_twice(
    there: Desk, house: House
) -> None:
    trace = await trace_of(there, "watched")
    assert len(trace) > 20
    for at in range(1, len(trace) + 1):
        await dies_and_recovers(there, house, f"change/{at}", at)


async def test_an_answer_that_got_lost_is_asked_for_again(there: Desk, house: House) -> None:
    id = await committed(there, house)
    original = house.dialect.answer

    def lose(method: str, path: str, query: object, body: object) -> Reply:
        house.lose_answers = int(method == "POST" and path.endswith("/pulls"))
        house.dialect.answer = original  # type: ignore[method-assign]
        return original(method, path, query, body)  # type: ignore[arg-type]

    def first(method: str, path: str, query: object, body: object) -> Reply:
        if method == "POST":
            return lose(method, path, query, body)
        return original(method, path, query, body)  # type: ignore[arg-type]

    house.dialect.answer = first  # type: ignore[method-assign]
    done = await there.settle(await there.plane.services.publications.get(id))
    assert (done.status, len(house.dialect.requests)) == (PR_CREATED, 1)
    assert "publication.deferred" in [event.kind for event in await there.events(done)]
