"""A change set as a stored playbook: what Ansible reads of it is what was wanted, as data."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.changes.imported import MOST_CONTENT_BYTES, imported
from scheduler.changes.plays import parse, render
from scheduler.model import (
    Delta,
    EntryKind,
    FileChange,
    PackageChange,
    PlaybookTask,
    ServiceDifference,
    ServiceState,
)
from tests.changes.guests import (
    CONTENT,
    EXPANDED,
    HOSTILE,
    added,
    digest,
    entry,
    hostile,
    purged,
    removed,
)
from tests.clocks import START


def stored(delta: Delta, contents: dict[str, bytes]) -> list[PlaybookTask]:
    return [
        PlaybookTask(
            id=f"TSK-{place}",
            playbook_id="PBK-1",
            position=place,
            name=task.name,
            module=task.module,
            params=task.params,
            literal=task.literal,
            created_at=START,
        )
        for place, task in enumerate(imported(delta, contents).tasks)
    ]


@settings(max_examples=60)
@given(
    name=st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=20)),
    content=st.one_of(
        st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
    ),
)
def test_what_comes_back_is_what_was_wanted_and_data(name: str, content: str) -> None:
    held = content.encode()
    path = "/srv/" + name.encode("utf-8", "replace").decode().replace("/", "_").replace("\0", "_")
    delta = Delta(files=(added(path, sha256=digest(held), size=len(held)),))
    tasks = stored(delta, {digest(held): held})
    if not tasks:
        return
    play = parse(render("web", "all", True, tasks))
    assert [one.params for one in play.tasks] == [dict(one.params) for one in tasks]
    (only,) = play.tasks
    assert (only.params["dest"], only.params["content"]) == (path, content)
    assert name not in only.name or len(name) < 3


@pytest.mark.parametrize("name", EXPANDED)
def test_what_ansible_would_expand_is_left_for_review(name: str) -> None:
    found = imported(Delta(files=(added(f"/srv/{name}"),)), {})
    assert not found.tasks
    assert [one.subject for one in found.reviews] == [f"/srv/{name}"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", b"x" * (MOST_CONTENT_BYTES + 1)])
def test_what_a_task_cannot_hold_is_left_for_review(content: bytes) -> None:
    delta = Delta(files=(added("/srv/f", sha256=digest(content), size=len(content)),))
    found = imported(delta, {digest(content): content})
    assert not found.tasks
    assert "no text, or too much" in found.reviews[0].reason


def test_each_kind_of_wish_is_a_task_in_the_order_of_the_role() -> None:
    service = ServiceState(name="nginx.service", enabled=True, active=True)
    delta = Delta(
        files=(
            added("/srv/a", EntryKind.DIRECTORY),
            added("/srv/b", sha256=digest(b"text"), size=4),
            added("/srv/c", EntryKind.SYMLINK, target="/srv/b", mode=0o777),
            FileChange(before=entry("/srv/d"), after=entry("/srv/d", mode=0o600)),
            removed("/srv/e"),
            FileChange(before=entry("/srv/f"), after=entry("/srv/f", EntryKind.DIRECTORY)),
        ),
        packages=(
            PackageChange(name="nginx", before="1.0", after="1.2"),
            PackageChange(name="vim", before="1", after=None),
        ),
        package_manager="dpkg",
        services=(ServiceDifference(name="nginx.service", before=None, after=service),),
        service_manager="systemd",
    )
    found = imported(delta, {digest(b"text"): b"text"})
    assert [(one.module.rpartition(".")[2], one.params.get("state")) for one in found.tasks] == [
        ("apt", "absent"),
        ("apt", "present"),
        ("file", "absent"),
        ("file", "directory"),
        ("copy", None),
        ("file", "file"),
        ("file", "link"),
        ("systemd_service", None),
        ("systemd_service", "started"),
    ]
    assert found.tasks[-2].params == {"daemon_reload": True}
    (again,) = (one for one in found.reviews if one.subject == "nginx.service")
    assert "restarted after the first play" in again.reason
    assert found.tasks[1].params["allow_downgrade"] is True
    assert found.tasks[4].params["content"] == "text"
    assert all(one.literal for one in found.tasks)
    (left,) = (one for one in found.reviews if one.subject == "/srv/f")
    assert "condition" in left.reason


def test_what_would_not_be_restarted_anyway_needs_no_condition() -> None:
    timer = ServiceState(name="backup.timer", enabled=True, active=True)
    change = ServiceDifference(name="backup.timer", before=None, after=timer)
    delta = Delta(files=(removed("/srv/e"),), services=(change,), service_manager="systemd")
    assert imported(delta, {}).reviews == ()


def test_accounts_are_there_before_the_directories_that_they_own() -> None:
    home = added("/home/alice", EntryKind.DIRECTORY, owner="alice", uid=1000)
    users = added("/etc/passwd", sha256=digest(b"alice"), size=5)
    found = imported(Delta(files=(home, users)), {digest(b"alice"): b"alice"})
    told = [one.params.get("dest") or one.params.get("path") for one in found.tasks]
    assert told == ["/etc/passwd", "/home/alice"]


def test_a_guest_that_is_hostile_all_over_has_no_word_outside_of_data() -> None:
    delta = hostile("/srv")
    tasks = stored(delta, {digest(CONTENT): CONTENT})
    play = parse(render("web", "all", True, tasks))
    assert [one.params for one in play.tasks] == [dict(one.params) for one in tasks]
    known = {one.name.rpartition(" (")[0] for one in tasks}
    assert known <= {
        "Remove a file or directory",
        "Make a directory",
        "Make a symbolic link",
        "Have systemd read its units again",
        "Enable or start a service",
        "Install packages in the versions that were seen",
    }


@pytest.mark.parametrize("name", EXPANDED)
def test_what_ansible_would_expand_is_not_removed_either(name: str) -> None:
    found = imported(Delta(files=(removed(f"/srv/{name}"),)), {})
    assert not found.tasks
    assert [one.subject for one in found.reviews] == [f"/srv/{name}"]


@pytest.mark.parametrize(
    ("enabled", "active", "wanted"),
    [(True, None, {"enabled": True}), (None, False, {"state": "stopped"})],
)
def test_what_is_not_known_of_a_service_is_not_wanted(
    enabled: bool | None, active: bool | None, wanted: dict[str, object]
) -> None:
    after = ServiceState(name="nginx.service", enabled=enabled, active=active)
    service = ServiceDifference(name="nginx.service", before=None, after=after)
    found = imported(Delta(services=(service,), service_manager="systemd"), {})
    assert found.tasks[-1].params == {"name": "nginx.service", **wanted}
    assert found.reviews == ()


def test_what_was_purged_is_purged_after_what_was_removed() -> None:
    first, second = imported(purged(), {}).tasks
    assert first.params == {"name": ["removed"], "state": "absent"}
    assert second.params == {"name": ["purged"], "state": "absent", "purge": True}


def test_packages_of_rpm_are_asked_for_as_dnf_names_them() -> None:
    new = PackageChange(name="nginx", before=None, after="1.2-3.el9")
    (only,) = imported(Delta(packages=(new,), package_manager="rpm"), {}).tasks
    assert only.module == "ansible.builtin.dnf"
    assert only.params == {"name": ["nginx-1.2-3.el9"], "state": "present"}
