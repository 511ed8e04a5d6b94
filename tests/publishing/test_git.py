"""git on real servers, https and ssh: what is pushed, what is refused, what nobody gets to see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event

import pytest

from scheduler.errors import RemoteRefused, RemoteUnavailable
from scheduler.publishing.access import Access
from scheduler.publishing.git import GitLimits, GitRepository, Signature
from scheduler.validation.repositories import repository_address
from tests.clocks import START
from tests.jumps import in_jumps, pass_time
from tests.publishing.dialects import Reply
from tests.publishing.house import TOKEN, House, git, with_sshd
from tests.waits import until

ANA = Signature(name="sandboxd", email="sandboxd@localhost", at=START)
FOLDER = "sandboxd/JOB-1"


def access(house: House, name: str = "site", **more: object) -> Access:
    address = repository_address(house.https(name))
    assert address is not None
    given = {"token_file": house.token_file, "ca_file": house.ca_file}
    return Access(address=address, username="oauth2", **(given | more))  # type: ignore[arg-type]


def over_ssh(house: House, **more: object) -> Access:
    address = repository_address(house.ssh())
    assert address is not None
    given = {"ssh_key": house.ssh_key, "ssh_known_hosts": house.known_hosts}
    return Access(address=address, **(given | more))  # type: ignore[arg-type]


@asynccontextmanager
async def repository(
    house: House, opens: Access | None = None, **limits: float
) -> AsyncIterator[GitRepository]:
    scratch = house.directory / "scratch"
    given = GitLimits(**limits)  # type: ignore[arg-type]
    async with GitRepository.opened(scratch, opens or access(house), given) as there:
        yield there
    assert list(scratch.iterdir()) == []


async def pushed(there: GitRepository, change_set: Path, branch: str = "change/one") -> str:
    parent = await there.fetch("main")
    commit = await there.commit(change_set, FOLDER, parent=parent, message="Title\n", signature=ANA)
    await there.push(commit, branch)
    return commit


async def test_a_directory_becomes_one_commit_in_a_folder(house: House, change_set: Path) -> None:
    at = house.repository()
    base = house.write("site", {"other": "kept\n"})
    async with repository(house) as there:
        heads = await there.heads("change/one", None)
        assert (heads.base, heads.base_sha, heads.branch_sha) == ("main", base, None)
        commit = await pushed(there, change_set)
        assert (await there.heads("change/one", "main")).branch_sha == commit
    assert house.files("change/one") == {
        "README": "100644",
        "other": "100644",
        f"{FOLDER}/REVIEW.md": "100644",
        f"{FOLDER}/ansible/run.sh": "100755",
        f"{FOLDER}/ansible/tasks/main.yml": "100644",
    }
    shown = git("log", "-1", "--format=%P|%an|%ae|%at|%ct|%B", commit, at=at)
    assert shown == f"{base}|sandboxd|sandboxd@localhost|1767614400|1767614400|Title"
    assert git("show", f"{commit}:{FOLDER}/REVIEW.md", at=at) == "# Review"


async def test_the_same_values_make_the_same_commit(house: House, change_set: Path) -> None:
    house.repository()
    shas = set()
    for _ in range(2):
        async with repository(house) as there:
            parent = await there.fetch("main")
            shas.add(
                await there.commit(change_set, FOLDER, parent=parent, message="t", signature=ANA)
            )
    assert len(shas) == 1


async def test_over_ssh_with_a_verified_host(house: House, change_set: Path) -> None:
    house.repository()
    with with_sshd(house):
        async with repository(house, over_ssh(house)) as there:
            commit = await pushed(there, change_set)
        assert house.head("change/one") == commit
        strangers = house.directory / "strangers"
        strangers.write_text("")
        with pytest.raises(RemoteRefused, match="Host key verification failed") as unknown:
            async with repository(house, over_ssh(house, ssh_known_hosts=strangers)) as there:
                await there.heads("x", None)
        assert unknown.value.reason == "host_key_unknown"
        (house.directory / "ssh" / "authorized").write_text("")
        with pytest.raises(RemoteRefused, match="Permission denied") as shut:
            async with repository(house, over_ssh(house)) as there:
                await there.heads("x", None)
        assert shut.value.reason == "unauthorised"


async def test_a_branch_that_is_there_is_never_written_over(house: House, change_set: Path) -> None:
    house.repository()
    house.write("site", {"theirs": "x"}, branch="change/one")
    theirs = house.head("change/one")
    async with repository(house) as there:
        with pytest.raises(RemoteRefused) as refused:
            await pushed(there, change_set)
    assert (refused.value.reason, house.head("change/one")) == ("stale", theirs)


async def test_a_base_that_moves_on_meanwhile_does_no_harm(house: House, change_set: Path) -> None:
    house.repository()
    async with repository(house) as there:
        parent = await there.fetch("main")
        commit = await there.commit(change_set, FOLDER, parent=parent, message="t", signature=ANA)
        house.write("site", {"newer": "x"})
        await there.push(commit, "change/one")
        assert await there.fetch(parent) == parent
    assert house.head("change/one") == commit
    assert set(house.files("main")) == {"README", "newer"}


async def test_a_base_that_is_rewritten_meanwhile_is_told(house: House, change_set: Path) -> None:
    at = house.repository()
    async with repository(house) as there:
        parent = await there.fetch("main")
        commit = await there.commit(change_set, FOLDER, parent=parent, message="t", signature=ANA)
        git("update-ref", "-d", "refs/heads/main", at=at)
        house.write("site", {"new": "history\n"})
        with pytest.raises(RemoteRefused) as refused:
            await there.push(commit, "change/one")
    assert (refused.value.reason, house.head("change/one")) == ("base_rewritten", None)


async def test_a_protected_branch_is_told_in_the_servers_words(
    house: House, change_set: Path
) -> None:
    house.repository()
    house.hook("echo 'only \x1b[31mreviewers\x1b[0m may' >&2; exit 1")
    async with repository(house) as there:
        with pytest.raises(RemoteRefused, match="may") as refused:
            await pushed(there, change_set)
    assert refused.value.reason == "rejected"
    assert "pre-receive hook declined" in refused.value.message
    assert refused.value.message.isprintable()


async def test_what_is_there_already_is_no_change(house: House, change_set: Path) -> None:
    at = house.repository()
    async with repository(house) as there:
        commit = await pushed(there, change_set)
        git("update-ref", "refs/heads/main", commit, at=at)
        parent = await there.fetch("main")
        with pytest.raises(RemoteRefused) as refused:
            await there.commit(change_set, FOLDER, parent=parent, message="t", signature=ANA)
    assert refused.value.reason == "nothing_to_change"


async def test_what_was_in_the_folder_is_replaced(house: House, change_set: Path) -> None:
    at = house.repository()
    async with repository(house) as there:
        commit = await pushed(there, change_set)
    git("update-ref", "refs/heads/main", commit, at=at)
    (change_set / "REVIEW.md").unlink()
    async with repository(house) as there:
        await pushed(there, change_set, "change/two")
    assert set(house.files("change/two")) == {
        "README",
        f"{FOLDER}/ansible/run.sh",
        f"{FOLDER}/ansible/tasks/main.yml",
    }


async def test_a_wrong_token_and_a_missing_repository_are_told(house: House) -> None:
    house.repository()
    wrong = house.directory / "wrong"
    wrong.write_text("another-token")
    for opens, reason in (
        (access(house, token_file=wrong), "unauthorised"),
        (access(house, "missing"), "repository_missing"),
        (access(house, token_file=None), "no_token"),
        (access(house, token_file=house.directory / "absent"), "no_token"),
    ):
        with pytest.raises(RemoteRefused) as refused:
            async with repository(house, opens) as there:
                await there.heads("x", "main")
        assert refused.value.reason == reason, refused.value.message
        assert "token" not in refused.value.message or reason == "no_token"


async def test_a_credential_is_renewed_by_a_restart(house: House) -> None:
    """systemd copied it when the daemon started; what is written afterwards reaches nobody."""
    house.repository()
    wrong = house.directory / "wrong"
    wrong.write_text("another-token")
    for file in (wrong, house.directory / "absent"):
        for handed_over in (True, False):
            opens = access(house, token_file=file, handed_over=handed_over)
            with pytest.raises(RemoteRefused) as refused:
                async with repository(house, opens) as there:
                    await there.heads("x", "main")
            remedy = refused.value.remedy or ""
            assert ("restart sandboxd" in remedy) is handed_over, remedy
            assert remedy.endswith("; then retry")


async def test_a_redirect_is_not_followed(house: House, tmp_path: Path) -> None:
    house.repository()
    house.replies.append(
        Reply(302, None, {"location": "https://127.0.0.1:1/infra/site.git/info/refs"})
    )
    with pytest.raises(RemoteRefused) as refused:
        async with repository(house) as there:
            await there.heads("x", "main")
    assert refused.value.reason == "redirected"


async def test_an_authority_that_is_not_believed_gets_no_token(house: House) -> None:
    house.repository()
    with pytest.raises(RemoteUnavailable, match="certificate"):
        async with repository(house, access(house, ca_file=None)) as there:
            await there.heads("x", "main")
    assert house.seen == []


async def test_the_token_is_in_no_argument_and_no_environment(
    house: House, change_set: Path
) -> None:
    house.repository()
    looked: list[bytes] = []

    def look(_path: str) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    content = (process / name).read_bytes()
                except OSError:
                    continue
                if b"sandboxd/ask" in content or b"SANDBOXD_ORIGIN" in content:
                    looked.append(content)

    house.before_git = look
    async with repository(house) as there:
        await pushed(there, change_set)
    assert looked
    assert not [content for content in looked if TOKEN.encode() in content]


def test_a_server_that_says_nothing_is_given_up(house: House) -> None:
    house.repository()
    asked, waiting = Event(), Event()

    def say_nothing(_path: str) -> None:
        asked.set()
        waiting.wait()

    house.before_git = say_nothing

    async def test() -> None:
        async with repository(house, seconds=600.0) as there:
            heads = asyncio.create_task(there.heads("x", "main"))
            await until(asked.is_set, what="the server to be asked")
            await pass_time(600)
            with pytest.raises(RemoteUnavailable, match="did not answer in 600 s"):
                await heads

    try:
        in_jumps(test())
    finally:
        waiting.set()


async def test_a_pack_beyond_the_bound_is_refused(house: House) -> None:
    at = house.repository()
    git("config", "uploadpack.allowFilter", "false", at=at)
    house.write("site", {"large": "".join(f"{n * 7919 % 1000003}" for n in range(300_000))})
    with pytest.raises(RemoteRefused) as refused:
        async with repository(house, most_file_bytes=2**17) as there:
            await there.fetch("main")
    assert refused.value.reason == "too_large"
