"""Hostile repositories and change sets: nothing of theirs is run, followed, written or believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scheduler.errors import RemoteRefused
from scheduler.publishing.telling import LONGEST, told
from scheduler.publishing.trees import Bounds, copied
from tests.publishing.house import House, git
from tests.publishing.test_git import access, pushed, repository


async def test_names_that_would_act_travel_as_bytes(
    house: House, change_set: Path, tmp_path: Path
) -> None:
    at = house.repository()
    base = house.head("main") or ""
    blob = git("hash-object", "-w", "--stdin", at=at, stdin=b"/etc/passwd")
    hooks = git("mktree", at=at, stdin=f"100755 blob {blob}\tpost-checkout\n".encode())
    entries = (
        f"120000 blob {blob}\tlink\n"
        f"160000 commit {base}\tsubmodule\n"
        f"100644 blob {blob}\t.gitmodules\n"
        f"100644 blob {blob}\t--upload-pack=touch pwned; $(touch pwned)\n"
        f'100644 blob {blob}\t"new\\nline"\n'
        f"040000 tree {hooks}\thooks\n"
    )
    house.commit("site", entries, "main", parent=base)
    async with repository(house) as there:
        await pushed(there, change_set)
        assert not list((house.directory / "scratch").glob("*/repository.git/hooks/*"))
    before, after = (
        set(git("ls-tree", "-z", name, at=at).split("\0")) for name in ("main", "change/one")
    )
    assert len(before) == 7
    assert before < after
    assert not found(tmp_path, "pwned")


def found(directory: Path, name: str) -> list[Path]:
    return list(directory.rglob(name))


@pytest.mark.parametrize("mode", ["120000 blob", "160000 commit", "100644 blob"])
async def test_a_folder_that_is_something_else_there_is_left_alone(
    house: House, change_set: Path, mode: str
) -> None:
    at = house.repository()
    blob = git("hash-object", "-w", "--stdin", at=at, stdin=b"../../outside")
    sha = house.head("main") if "commit" in mode else blob
    house.commit("site", f"{mode} {sha}\tsandboxd\n", "main", parent=house.head("main") or "")
    async with repository(house) as there:
        with pytest.raises(RemoteRefused) as refused:
            await pushed(there, change_set)
    assert refused.value.reason == "folder_taken"


async def test_a_default_branch_with_a_name_that_would_act_is_refused(house: House) -> None:
    at = house.repository()
    name = "--upload-pack=x"
    git("update-ref", f"refs/heads/{name}", house.head("main") or "", at=at)
    (at / "HEAD").write_text(f"ref: refs/heads/{name}\n")
    async with repository(house) as there:
        with pytest.raises(RemoteRefused) as refused:
            await there.heads("x", None)
    assert refused.value.reason == "base_missing"


async def test_many_references_and_large_trees_are_bounded(house: House, change_set: Path) -> None:
    at = house.repository()
    base = house.head("main") or ""
    lines = "".join(f"{base} refs/heads/many/{number}\n" for number in range(20_000))
    (at / "packed-refs").write_text(f"# pack-refs with: peeled fully-peeled sorted \n{lines}")
    blob = git("hash-object", "-w", "--stdin", at=at, stdin=b"x")
    names = "".join(f"100644 blob {blob}\tfile-{number:06}\n" for number in range(20_000))
    house.commit("site", names, "main", parent=base)
    async with repository(house) as there:
        heads = await there.heads("change/one", "main")
        assert heads.base_sha == house.head("main")
        await pushed(there, change_set)
    assert len(house.files("change/one")) == 20_003


async def test_an_empty_repository_has_no_base(house: House) -> None:
    at = house.root / "infra" / "empty.git"
    at.mkdir(parents=True)
    git("init", "--quiet", "--bare", at=at)
    async with repository(house, access(house, "empty")) as there:
        heads = await there.heads("x", None)
    assert (heads.base_sha, heads.branch_sha) == (None, None)


def test_only_plain_files_are_taken(change_set: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    files = copied(change_set, into, Bounds())
    assert [(file.path, file.executable) for file in files] == [
        ("REVIEW.md", False),
        ("ansible/run.sh", True),
        ("ansible/tasks/main.yml", False),
    ]
    assert files[0].copy.read_text() == "# Review\n"


def plant_link(at: Path) -> None:
    (at / "link").symlink_to("/etc/passwd")


def plant_linked_directory(at: Path) -> None:
    (at / "link").symlink_to("/etc")


def plant_pipe(at: Path) -> None:
    os.mkfifo(at / "pipe")


def plant_git(at: Path) -> None:
    (at / ".Git").mkdir()


def plant_name(at: Path) -> None:
    (at / "new\nline").write_text("")


def plant_bytes(at: Path) -> None:
    (Path(os.fsdecode(os.fsencode(at) + b"/\xff"))).write_text("")


def plant_depth(at: Path) -> None:
    at.joinpath(*["d"] * 40).mkdir(parents=True)


def plant_size(at: Path) -> None:
    (at / "large").write_bytes(bytes(2**20))


def plant_many(at: Path) -> None:
    for number in range(30):
        (at / f"file-{number}").write_text("")


PLANTED = (
    plant_link,
    plant_linked_directory,
    plant_pipe,
    plant_git,
    plant_name,
    plant_bytes,
    plant_depth,
    plant_size,
    plant_many,
)


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_may_not_be_published_is_refused(
    change_set: Path, tmp_path: Path, plant: object
) -> None:
    into = tmp_path / "into"
    into.mkdir()
    plant(change_set)  # type: ignore[operator]
    with pytest.raises(RemoteRefused) as refused:
        copied(change_set, into, Bounds(most_files=20, most_bytes=2**19))
    assert refused.value.reason == "change_set_unpublishable"
    assert refused.value.message.isprintable()


@pytest.mark.parametrize("kind", ["missing", "empty", "link"])
def test_a_directory_that_is_none_is_refused(tmp_path: Path, kind: str) -> None:
    into, at = tmp_path / "into", tmp_path / "at"
    into.mkdir()
    if kind == "empty":
        at.mkdir()
    elif kind == "link":
        at.symlink_to("/etc")
    with pytest.raises(RemoteRefused, match="cannot be published"):
        copied(at, into, Bounds())


def test_what_strangers_say_is_one_plain_bounded_line() -> None:
    said = told(
        "remote: \x1b]0;title\x07 hi\r\n\n  secret-1 \u202e\n" + "x" * 9000,
        secrets=["secret-1", ""],
    )
    assert said.isprintable()
    assert said.startswith("remote:  ]0;title  hi; ***")
    assert len(said) == LONGEST + 3
