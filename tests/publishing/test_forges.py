"""One contract for every forge, against fakes that answer as the forges' documents say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.config.publishing import ForgeSection
from scheduler.errors import Invalid, RemoteRefused, RemoteUnavailable
from scheduler.publishing.forge import Forge, Proposal, RequestState
from scheduler.publishing.forges import Forges
from tests.clocks import START, ManualClock
from tests.publishing.dialects import DIALECTS, Reply
from tests.publishing.house import TOKEN, House, opened

KINDS = tuple(DIALECTS)
WANTED = Proposal(
    repository="infra/site",
    branch="change/one",
    base="main",
    commit_sha="a" * 40,
    title="Apply",
    text="- text",
    labels=("sandbox", "infra"),
    reviewers=("ana",),
)


def section(house: House, kind: str, **more: object) -> ForgeSection:
    given = {
        "name": "forge",
        "kind": kind,
        "url": house.url,
        "token_file": str(house.token_file),
        "ca_file": str(house.ca_file),
    }
    return ForgeSection.model_validate(given | more)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def house(tmp_path: Path, kind: str) -> Iterator[House]:
    with opened(tmp_path / "house", kind) as running:
        running.dialect.shas = lambda branch: None if branch == "absent" else "a" * 40
        yield running


@pytest.fixture
def forge(house: House, kind: str) -> Forge:
    return Forges((section(house, kind),), ManualClock()).adapter(house.https())


async def test_a_request_is_opened_once_and_followed(house: House, forge: Forge) -> None:
    assert await forge.find(WANTED) is None
    made = await forge.create(WANTED)
    assert made.state is RequestState.OPEN
    assert made.url.startswith(f"{house.url}/infra/site/")
    assert await forge.find(WANTED) == made
    with pytest.raises(RemoteRefused, match="already exists") as twin:
        await forge.create(WANTED)
    assert twin.value.reason == "request_exists"
    assert len(house.dialect.requests) == 1
    one = house.dialect.requests[made.number]
    assert (one.title, one.text, one.head, one.base) == ("Apply", "- text", "change/one", "main")
    assert await forge.decorate(WANTED, made.number) == []
    assert await forge.decorate(replace(WANTED, labels=(), reviewers=()), made.number) == []
    assert (sorted(one.labels), one.reviewers) == (["infra", "sandbox"], ["ana"])
    for state in RequestState:
        one.state = state.value
        assert (await forge.get("infra/site", made.number)).state is state


async def test_what_cannot_be_had_beside_the_request_is_noted(forge: Forge, kind: str) -> None:
    made = await forge.create(WANTED)
    wanted = replace(WANTED, labels=("sandbox", "unknown"), reviewers=("nobody",))
    notes = await forge.decorate(wanted, made.number)
    assert len(notes) == (2 if kind == "gitea" else 1)
    assert "review" in notes[-1]


async def test_a_merged_request_is_recognised_by_its_commit(house: House, forge: Forge) -> None:
    house.dialect.add("change/one", state="closed", sha="b" * 40)
    house.dialect.add("change/one", base="other")
    assert await forge.find(WANTED) is None
    ours = house.dialect.add("change/one", state="merged", sha="a" * 40)
    found = await forge.find(WANTED)
    assert found is not None
    assert (found.number, found.state) == (ours.number, RequestState.MERGED)


async def test_what_strangers_propose_from_forks_is_not_ours(house: House, forge: Forge) -> None:
    for source in ("mallory/site", "infra/site-copy", None):
        for state in RequestState:
            house.dialect.add("change/one", state=state.value, source=source, sha="a" * 40)
    assert await forge.find(WANTED) is None
    made = await forge.create(WANTED)
    assert await forge.find(WANTED) == made


async def test_a_merged_request_is_found_when_its_branch_is_gone(
    house: House, forge: Forge
) -> None:
    ours = house.dialect.add("change/one", state="merged", sha="a" * 40)
    house.dialect.shas = lambda _branch: None
    found = await forge.find(WANTED)
    assert found is not None
    assert (found.number, found.state) == (ours.number, RequestState.MERGED)


async def test_a_request_is_found_on_a_later_page(house: House, forge: Forge) -> None:
    house.dialect.page = 3
    ours = house.dialect.add("change/one")
    for number in range(7):
        house.dialect.add(f"other/{number}")
        house.dialect.add("change/one", state="closed", sha="b" * 40)
    found = await forge.find(WANTED)
    assert found is not None
    assert found.number == ours.number
    assert len(house.api_calls()) >= 3


async def test_a_branch_that_is_not_there_is_told_in_the_forges_words(forge: Forge) -> None:
    with pytest.raises(RemoteRefused) as refused:
        await forge.create(replace(WANTED, branch="absent"))
    assert refused.value.reason in ("invalid_request", "request_missing", "refused")
    words = ("field head", "Source branch does not exist", "target couldn't be found")
    assert any(one in refused.value.message for one in words), refused.value.message


LIMITED: tuple[tuple[int, dict[str, str], int | None], ...] = (
    (429, {"retry-after": "17"}, 17),
    (429, {}, None),
    (403, {"retry-after": "60"}, 60),
    (
        403,
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(START.timestamp()) + 90)},
        90,
    ),
    (429, {"ratelimit-remaining": "0", "ratelimit-reset": str(int(START.timestamp()) + 5)}, 5),
    (403, {"x-ratelimit-remaining": "0"}, 60),
    (503, {"retry-after": "nonsense"}, None),
    (500, {}, None),
)


async def test_a_wish_for_patience_is_passed_on(house: House, forge: Forge) -> None:
    for status, headers, patience in LIMITED:
        house.replies.append(Reply(status, {"message": "slow down"}, headers))
        with pytest.raises(RemoteUnavailable, match=f"{status}: slow down") as limited:
            await forge.find(WANTED)
        assert limited.value.details.get("retry_after") == patience, headers


@pytest.mark.parametrize(
    "said",
    [
        "You have exceeded a secondary rate limit. Please wait a few minutes.",
        "You have triggered an abuse detection mechanism. Please wait a few minutes.",
        "API rate limit exceeded for user ID 7.",
    ],
)
async def test_too_much_at_once_is_no_missing_right(house: House, forge: Forge, said: str) -> None:
    """GitHub tells it by its words alone: there are requests left, and it asks for no pause."""
    headers = {"x-ratelimit-remaining": "4711", "x-ratelimit-reset": "1767614400"}
    for more, patience in (({}, 60), ({"retry-after": "90"}, 90)):
        house.replies.append(Reply(403, {"message": said}, headers | more))
        with pytest.raises(RemoteUnavailable, match="403: ") as limited:
            await forge.find(WANTED)
        assert limited.value.details.get("retry_after") == patience


ERRORS = (
    (Reply(401, {"message": "Bad credentials"}), "unauthorised", "Bad credentials"),
    (Reply(403, {"message": "Forbidden"}), "unauthorised", "Forbidden"),
    (Reply(404, {"error": "404 Project Not Found"}), "request_missing", "Project Not Found"),
    (Reply(400, {"message": {"title": ["is too long"]}}), "refused", "title is too long"),
    (Reply(418, raw=b"\x1b[31mteapot\n"), "refused", "teapot"),
    (Reply(200, raw=b"<html>"), "no_forge", "not this forge's API"),
    (Reply(200, {"unexpected": 1}), "no_forge", "not this forge's API"),
    (Reply(200, [{"number": "x", "iid": None}]), "no_forge", "as its API promises"),
    (Reply(200, ["x"]), "no_forge", "as its API promises"),
    (Reply(200, raw=b"[" + b" " * (9 * 2**20)), "too_large", "answers more than"),
    (Reply(422, raw=b""), "invalid_request", "without a word"),
)


async def test_errors_are_told_as_they_are(house: House, forge: Forge) -> None:
    for reply, reason, words in ERRORS:
        house.replies.append(reply)
        with pytest.raises(RemoteRefused) as refused:
            await forge.find(WANTED)
        assert refused.value.reason == reason, reply.status
        assert words in refused.value.message
        assert refused.value.message.isprintable()
        assert TOKEN not in refused.value.message


async def test_only_what_systemd_handed_over_is_renewed_by_a_restart(
    house: House, kind: str
) -> None:
    elsewhere, here = house.directory / "elsewhere", house.token_file.parent
    for credentials, restart in ((None, False), (elsewhere, False), (here, True)):
        forges = Forges((section(house, kind),), ManualClock(), credentials=credentials)
        assert forges.access(house.https()).handed_over is restart
        for status, told in ((401, restart), (403, restart), (404, False)):
            house.replies.append(Reply(status, {"message": "no"}))
            with pytest.raises(RemoteRefused) as refused:
                await forges.adapter(house.https()).find(WANTED)
            assert ("restart sandboxd" in (refused.value.remedy or "")) is told


async def test_a_token_goes_to_no_other_host(house: House, forge: Forge, tmp_path: Path) -> None:
    with opened(tmp_path / "elsewhere") as elsewhere:
        away = f"{elsewhere.url}/api/v3/steal"
        for reply in (
            Reply(302, None, {"location": away}),
            Reply(200, [], {"link": f'<{away}>; rel="next"'}),
            Reply(307, None, {"location": "http://127.0.0.1/plain"}),
            Reply(301, None, {"location": "//[bad"}),
        ):
            house.replies.append(reply)
            with pytest.raises(RemoteRefused) as refused:
                await forge.find(WANTED)
            assert refused.value.reason == "redirected"
        assert elsewhere.seen == []


async def test_within_the_server_reading_is_redirected_and_writing_is_not(
    house: House, forge: Forge
) -> None:
    house.replies.append(Reply(301, None, {"location": "/api/moved"}))
    house.replies.append(Reply(200, []))
    if house.dialect.base == "/api/v1":
        house.replies.append(Reply(200, []))
    assert await forge.find(WANTED) is None
    house.replies.append(Reply(307, None, {"location": "/api/moved"}))
    with pytest.raises(RemoteRefused, match="has moved") as refused:
        await forge.create(WANTED)
    assert refused.value.reason == "redirected"
    for _ in range(9):
        house.replies.append(Reply(302, None, {"location": "/api/circle"}))
    with pytest.raises(RemoteRefused, match="in circles"):
        await forge.find(WANTED)


async def test_a_server_that_is_away_or_not_believed_is_tried_again(
    house: House, kind: str
) -> None:
    for more in ({"ca_file": None}, {"api_url": "https://127.0.0.1:1/api"}):
        forge = Forges((section(house, kind, **more),), ManualClock()).adapter(house.https())
        with pytest.raises(RemoteUnavailable, match="cannot be reached"):
            await forge.find(WANTED)
    assert house.seen == []


async def test_a_token_or_an_authority_that_is_no_such_thing_is_told(
    house: House, kind: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    for content in (b"", b"two words", b"\xff", b"x" * 5000, b"line\nline"):
        file.write_bytes(content)
        forge = Forges((section(house, kind, token_file=str(file)),), ManualClock())
        with pytest.raises(RemoteRefused, match="no token in") as refused:
            await forge.adapter(house.https()).find(WANTED)
        assert refused.value.reason == "no_token"
    forge = Forges((section(house, kind, ca_file=str(file)),), ManualClock())
    with pytest.raises(RemoteRefused, match="holds no authority"):
        await forge.adapter(house.https()).find(WANTED)
    assert house.seen == []


def known(**url: str) -> Forges:
    sections = [
        ForgeSection.model_validate({"name": name, "kind": "gitea", "url": at})
        for name, at in url.items()
    ]
    return Forges(sections, ManualClock())


@pytest.mark.parametrize(
    ("repo_url", "forge", "path"),
    [
        ("https://git.example/infra/site.git", "plain", "infra/site"),
        ("https://git.example/code/infra/site", "inner", "infra/site"),
        ("ssh://git@git.example:2222/infra/site.git", "plain", "infra/site"),
        ("git@git.example:infra/site.git", "plain", "infra/site"),
        ("https://other.example:8443/infra/site", "port", "infra/site"),
    ],
)
def test_a_repository_is_on_one_forge(repo_url: str, forge: str, path: str) -> None:
    forges = known(
        plain="https://git.example",
        inner="https://git.example/code",
        port="https://other.example:8443",
    )
    assert forges.of(repo_url).name == forge
    assert forges.path(repo_url) == path
    assert forges.kind(forge) == "gitea"


@pytest.mark.parametrize(
    "repo_url",
    [
        "https://git.example.evil/infra/site.git",
        "https://git.example:444/infra/site.git",
        "https://other.example/infra/site.git",
        "nonsense",
    ],
)
def test_other_repositories_are_contacted_by_nobody(repo_url: str) -> None:
    forges = known(plain="https://git.example")
    with pytest.raises(Invalid, match="no configured forge"):
        forges.of(repo_url)
    assert forges.kind("gone") == "unknown"


def test_each_kind_has_its_api_where_it_should() -> None:
    def api(kind: str, url: str, **more: str) -> str:
        return ForgeSection.model_validate({"name": "x", "kind": kind, "url": url, **more}).api

    assert api("github", "https://github.com") == "https://api.github.com"
    assert api("github", "https://ghe.example") == "https://ghe.example/api/v3"
    assert api("gitlab", "https://gitlab.com/") == "https://gitlab.com/api/v4"
    assert api("forgejo", "https://code.example/git") == "https://code.example/git/api/v1"
    assert api("gitea", "https://x.example", api_url="https://y.example/z") == "https://y.example/z"
