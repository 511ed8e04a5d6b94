"""Where packages come from is in place before they are asked for, whoever plays it."""

from __future__ import annotations

import re

import pytest
import yaml

from scheduler.changes.imported import imported
from scheduler.changes.plans import plan
from scheduler.changes.repositories import split
from scheduler.changes.trees import change_tree
from scheduler.model import Delta, EntryKind, FileChange, PackageChange
from tests.changes.guests import CONTENT, added, digest, entry, removed

TEXT = b"deb [signed-by=/etc/apt/keyrings/docker.asc] https://example.org bookworm stable\n"
KEPT = {digest(TEXT): TEXT, digest(CONTENT): CONTENT}
KEYRINGS, LIST = "/etc/apt/keyrings", "/etc/apt/sources.list.d/docker.list"
KEY = f"{KEYRINGS}/docker.asc"


def text(path: str, **fields: object) -> FileChange:
    return added(path, EntryKind.FILE, sha256=digest(TEXT), size=len(TEXT), **fields)


DOCKER = Delta(
    files=(
        added(KEYRINGS, EntryKind.DIRECTORY),
        text(KEY),
        text(LIST),
        removed("/etc/apt/sources.list"),
        added("/etc/apt/link", EntryKind.SYMLINK, target=KEY, mode=0o777),
        FileChange(before=entry("/etc/apt/own"), after=entry("/etc/apt/own", mode=0o600)),
        added("/etc/docker", EntryKind.DIRECTORY),
        text("/etc/docker/daemon.json"),
    ),
    packages=(
        PackageChange(name="docker-ce", before=None, after="1"),
        PackageChange(name="docker.io", before="1", after=None),
    ),
    package_manager="dpkg",
)


def test_the_role_makes_them_before_it_asks_for_packages() -> None:
    made = change_tree(DOCKER, KEPT, name="web", title="x")
    tasks = yaml.safe_load(made.files["ansible/roles/web/tasks/main.yml"])
    assert [one["name"] for one in tasks] == [
        "Remove packages",
        "Repositories first: remove files and directories",
        "Repositories first: make directories",
        "Repositories first: put files in place",
        "Repositories first: set owners and modes",
        "Repositories first: make symbolic links",
        "Install packages in the versions that were seen",
        "Make directories",
        "Put files in place",
    ]
    assert tasks[3]["loop"] == "{{ web_repository_files }}"


def test_the_module_makes_them_and_has_apt_look_at_them() -> None:
    made = change_tree(DOCKER, KEPT, name="web", title="x")
    manifest = made.files["puppet/web/manifests/init.pp"].decode()
    order = re.findall(r"^  (?:package|file|exec) \{ '(.*)':$", manifest, re.MULTILINE)
    assert order == [
        *("docker.io", "/etc/apt/sources.list", KEYRINGS, KEY, LIST),
        *("/etc/apt/own", "/etc/apt/link", "web: apt-get update"),
        *("docker-ce", "/etc/docker", "/etc/docker/daemon.json"),
    ]
    update = manifest[manifest.index("exec {") : manifest.index("'docker-ce'")]
    assert "refreshonly => true" in update
    assert f"File['{LIST}']," in update


@pytest.mark.parametrize(
    "delta",
    [
        Delta(files=DOCKER.files, package_manager="dpkg"),
        Delta(packages=DOCKER.packages, package_manager="dpkg"),
        Delta(files=DOCKER.files, packages=DOCKER.packages[:1], package_manager="rpm"),
    ],
)
def test_apt_looks_only_at_repositories_from_which_packages_come(delta: Delta) -> None:
    made = change_tree(delta, KEPT, name="web", title="x")
    assert b"exec {" not in made.files["puppet/web/manifests/init.pp"]


def test_an_imported_playbook_has_the_same_order() -> None:
    told = [
        next((one.params[key] for key in ("dest", "path", "name") if key in one.params), None)
        for one in imported(DOCKER, KEPT).tasks
    ]
    assert told == [
        *(["docker.io"], "/etc/apt/sources.list", KEYRINGS, KEY, LIST),
        *("/etc/apt/own", "/etc/apt/link", ["docker-ce=1"]),
        *("/etc/docker", "/etc/docker/daemon.json"),
    ]


@pytest.mark.parametrize(
    ("change", "first"),
    [
        *((text(path), True) for path in (LIST, "/etc/apt/preferences.d/x", "/etc/yum.conf")),
        *((text(path), True) for path in ("/usr/share/keyrings/x.gpg", "/etc/yum.repos.d/x.repo")),
        *((text(path), True) for path in ("/etc/pki/rpm-gpg/KEY", "/etc/dnf/dnf.conf")),
        *((text(path), False) for path in ("/etc/aptitude", "/etc/pki/tls/x", "/srv/etc/apt/x")),
        (text("/etc/apt/listchanges.conf", package="docker-ce", pristine=False), False),
        (text("/etc/apt/listchanges.conf", package="other", pristine=False), True),
        (FileChange(before=entry(LIST, EntryKind.DIRECTORY), after=entry(LIST)), False),
    ],
)
def test_what_comes_first_is_what_packages_need(change: FileChange, *, first: bool) -> None:
    packages = (PackageChange(name="docker-ce", before=None, after="1"),)
    made = plan(Delta(files=(change,), packages=packages, package_manager="dpkg"), KEPT)
    early, late = split(made)
    assert [one.path for one in early.files] == ([change.path] if first else [])
    assert [one.path for one in late.files] == ([] if first else [change.path])
    assert early.packages == ()
