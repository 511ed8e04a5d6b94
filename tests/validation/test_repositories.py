"""Addresses of repositories, names of branches and folders: nothing passes that could act."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.validation.repositories import is_branch, is_folder, repository_address


@pytest.mark.parametrize(
    ("text", "url", "origin"),
    [
        ("https://Git.Example/infra/site.git", "https://git.example/infra/site.git", None),
        ("https://git.example:443/infra/site/", "https://git.example/infra/site", None),
        (
            "https://git.example:8443/a/b/c",
            "https://git.example:8443/a/b/c",
            "https://git.example:8443",
        ),
        (
            "ssh://git@git.example:2222/a/b.git",
            "ssh://git@git.example:2222/a/b.git",
            "ssh://git.example:2222",
        ),
        ("git@git.example:a/b.git", "ssh://git@git.example/a/b.git", "ssh://git.example"),
    ],
)
def test_a_repository_has_one_name(text: str, url: str, origin: str | None) -> None:
    address = repository_address(text)
    assert address is not None
    assert address.url == url
    assert repository_address(url) == address
    assert address.origin == (origin or "https://git.example")


@pytest.mark.parametrize(
    "text",
    [
        "https://user:secret@git.example/a/b",
        "https://token@git.example/a/b",
        "http://git.example/a/b",
        "file:///etc/passwd",
        "ext::sh -c touch% /tmp/x",
        "--upload-pack=touch x",
        "-oProxyCommand=x/y",
        "ssh://-oProxyCommand=x/a/b",
        "https://git.example/a/../b",
        "https://git.example/a/-b",
        "https://git.example/a",
        "https://git.example/a/b?x=1",
        "https://git.example/a/b#x",
        "https://git.example:0/a/b",
        "https://git.example:99999/a/b",
        "https://git.example/a/.git",
        "https://git.example/a//b",
        "https://git.example/a/b\n",
        "https://git\u3002example/a/b",
        "git@git.example:/a/b",
        "https://git.example/" + "a/" * 300 + "b",
        "",
    ],
)
def test_what_names_no_repository_is_refused(text: str) -> None:
    assert repository_address(text) is None


BAD = (
    "",
    "-x",
    "--upload-pack=x",
    "a..b",
    "a.lock",
    "a/b.lock",
    ".a",
    "a/.b",
    "a//b",
    "/a",
    "a/",
    "a.",
    "a b",
    "a~1",
    "a^",
    "a:b",
    "a?b",
    "a*b",
    "a[b",
    "a\\b",
    "a\nb",
    "a@{b",
    "ä",
    "x" * 201,
)


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_branch_is_refused(name: str) -> None:
    assert not is_branch(name)
    assert not is_folder(name) or name == "x" * 201


def test_head_and_git_are_taken() -> None:
    assert not is_branch("HEAD")
    assert not is_folder(".git")
    assert not is_folder("a/.GIT/b")
    assert is_folder("roles/web_1")


@given(st.from_regex(r"[A-Za-z0-9_./+-]{1,12}", fullmatch=True))
def test_git_takes_every_branch_that_is_taken_here(name: str) -> None:
    if is_branch(name):
        ran = subprocess.run(["git", "check-ref-format", f"refs/heads/{name}"], check=False)
        assert ran.returncode == 0, name
