"""Accounts that came are made before packages, with the numbers that they had."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import yaml

from scheduler.changes.imported import imported
from scheduler.changes.plans import plan
from scheduler.changes.trees import change_tree
from scheduler.changes.wanted_accounts import WantedAccount, WantedGroup, wanted_accounts
from scheduler.model import Delta, FileChange, ManifestEntry, PackageChange
from tests.changes.guests import added, digest, entry

PASSWD = b"root:x:0:0:root:/root:/bin/bash\n"
GROUP = b"root:x:0:\nshared:x:50:\n"
CAME = (
    PASSWD + b"redis:x:105:112::/var/lib/redis:/bin/false\ndeploy:x:1001:50::/home/deploy:/bin/sh\n"
)
GROUPS = GROUP + b"redis:x:112:\n"
REDIS = WantedAccount(name="redis", uid=105, gid=112, home="/var/lib/redis")
DEPLOY = WantedAccount(name="deploy", uid=1001, gid=50, home="/home/deploy")
PACKAGE = PackageChange(name="redis", before=None, after="7")
SHADOWS = ("/etc/shadow", "/etc/gshadow")


class Kept(dict[str, bytes]):
    """Contents by their digest."""

    def entry(self, path: str, content: bytes) -> ManifestEntry:
        self[digest(content)] = content
        return entry(path, sha256=digest(content), size=len(content))

    def changed(self, path: str, before: bytes, after: bytes) -> FileChange:
        return FileChange(before=self.entry(path, before), after=self.entry(path, after))


def changed(
    passwd: bytes = CAME,
    groups: bytes = GROUPS,
    *,
    manager: str | None = "dpkg",
    shadows: tuple[str, ...] = SHADOWS,
) -> tuple[Delta, Kept]:
    kept = Kept()
    files = (
        kept.changed("/etc/group", GROUP, groups),
        kept.changed("/etc/passwd", PASSWD, passwd),
        *(added(path) for path in shadows),
    )
    return Delta(files=files, packages=(PACKAGE,), package_manager=manager), kept


def test_what_came_is_made_with_its_numbers() -> None:
    found = wanted_accounts(*changed())
    assert found.groups == (WantedGroup(name="redis", gid=112),)
    assert found.accounts == (REDIS, DEPLOY)


def test_where_groups_did_not_change_they_are_there() -> None:
    delta, kept = changed()
    alone = replace(delta, files=tuple(one for one in delta.files if one.path != "/etc/group"))
    assert wanted_accounts(alone, kept).accounts == (REDIS, DEPLOY)


@pytest.mark.parametrize(
    "line",
    [
        b"root2:x:0:0::/root:/bin/sh",
        b"a:x:200:50::/srv/a:\nb:x:200:50::/srv/b:",
        b"a:x:200:999::/srv/a:/bin/sh",
        b"a b:x:200:50::/srv/a:/bin/sh",
        b"-a:x:200:50::/srv/a:/bin/sh",
        b"a:x:-200:50::/srv/a:/bin/sh",
        b"a:x:200:x::/srv/a:/bin/sh",
        b"a:x:200:50::/srv/../a:/bin/sh",
        b"a:x:200:50::/srv/$(id):/bin/sh",
        b"a:x:200:50::/:/bin/sh",
        b"a:x:200:50:/srv/a:/bin/sh",
        b"a:x:200:50",
        b"\xff:x:200:50::/srv/a:/bin/sh",
        b"{{ id }}:x:200:50::/srv/a:/bin/sh",
    ],
)
def test_what_is_no_plain_account_is_left_to_the_file(line: bytes) -> None:
    assert wanted_accounts(*changed(PASSWD + line + b"\n")).accounts == ()


@pytest.mark.parametrize("manager", ["apk", None])
def test_without_a_manager_whose_systems_have_the_tools_nothing_is_made(manager: str) -> None:
    found = wanted_accounts(*changed(manager=manager))
    assert (found.groups, found.accounts) == ((), ())


def test_what_somebody_wrote_by_hand_is_put_in_place_as_it_is() -> None:
    """A tool would write into a shadow that did not change."""
    found = wanted_accounts(*changed(shadows=()))
    assert (found.groups, found.accounts) == ((), ())
    assert wanted_accounts(*changed(shadows=SHADOWS[:1])).accounts == (DEPLOY,)


def test_where_a_content_is_not_known_nothing_is_made() -> None:
    delta, kept = changed()
    assert wanted_accounts(delta, {}).accounts == ()
    came = tuple(replace(one, before=None) for one in delta.files)
    assert wanted_accounts(replace(delta, files=came), kept).accounts == ()
    del kept[digest(GROUP)]
    assert wanted_accounts(delta, kept).groups == ()
    assert plan(replace(delta, files=()), kept).made.accounts == ()


def test_accounts_are_made_between_repositories_and_packages() -> None:
    delta, kept = changed()
    source = kept.entry("/etc/apt/sources.list", b"deb x\n")
    delta = replace(delta, files=(*delta.files, FileChange(before=None, after=source)))
    tree = change_tree(delta, kept, name="web", title="x")
    tasks = yaml.safe_load(tree.files["ansible/roles/web/tasks/main.yml"])
    assert [one["name"] for one in tasks] == [
        "Repositories first: put files in place",
        "Make groups with the numbers that were seen",
        "Make accounts with the numbers that were seen",
        "Install packages in the versions that were seen",
        "Look for homes that packages may have left to whoever makes the account",
        "Make homes that are missing",
        "Put accounts in place",
    ]
    text = tree.files["puppet/web/manifests/init.pp"].decode()
    assert re.findall(r"^  (\w+) \{ '(.*)':$", text, re.MULTILINE) == [
        ("file", "/etc/apt/sources.list"),
        ("group", "redis"),
        ("user", "redis"),
        ("user", "deploy"),
        ("exec", "web: apt-get update"),
        ("package", "redis"),
        ("exec", "web: home of redis"),
        ("file", "/etc/group"),
        ("file", "/etc/passwd"),
    ]
    assert "/usr/bin/install -d -o redis -g 112 -m 0755 /var/lib/redis" in text


def test_homes_are_of_packages() -> None:
    delta, kept = changed()
    assert [one.name for one in plan(delta, kept).homes] == ["redis"]
    assert plan(replace(delta, packages=()), kept).homes == ()


def test_an_imported_playbook_makes_them_and_names_homes() -> None:
    made = imported(*changed())
    names = [re.sub(r" \(\d+\)", "", one.name) for one in made.tasks]
    assert names[:4] == [
        "Make a group",
        "Make an account",
        "Make an account",
        "Install packages in the versions that were seen",
    ]
    assert made.tasks[1].params["uid"] == 105
    assert {one.subject for one in made.reviews} >= {"/var/lib/redis"}
