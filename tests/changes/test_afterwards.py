"""What makes use of files that came: the linker, systemd, and services whose units changed."""

from __future__ import annotations

import re

import pytest
import yaml

from scheduler.changes.imported import imported
from scheduler.changes.plans import plan
from scheduler.changes.trees import ChangeTree, change_tree
from scheduler.model import Delta, EntryKind, FileChange, ServiceDifference, ServiceState
from tests.changes.guests import CONTENT, added, digest, removed

KEPT = {digest(CONTENT): CONTENT}
LIBRARY = "/usr/local/lib/libfoo.so.1"
UNIT = "/etc/systemd/system/own.service"
DROP_IN = "/etc/systemd/system/nginx.service.d/o.conf"
ENDED = ServiceDifference(name="own", before=ServiceState(name="own", active=True), after=None)


def made(*files: FileChange, services: tuple[ServiceDifference, ...] = ()) -> ChangeTree:
    delta = Delta(files=files, services=services, service_manager="systemd")
    return change_tree(delta, KEPT, name="web", title="x")


def titles(tree: ChangeTree) -> list[str]:
    tasks = yaml.safe_load(tree.files["ansible/roles/web/tasks/main.yml"])
    return [one["name"] for one in tasks]


def module(tree: ChangeTree) -> str:
    return tree.files["puppet/web/manifests/init.pp"].decode()


@pytest.mark.parametrize(
    ("path", "looks"),
    [
        (LIBRARY, True),
        ("/usr/local/lib/libfoo.so", True),
        ("/usr/local/lib64/x86/libfoo.so.1.2.3", True),
        ("/opt/foo/lib/libfoo.so", True),
        ("/etc/ld.so.conf", True),
        ("/etc/ld.so.conf.d/foo.conf", True),
        ("/usr/local/lib/libfoo.a", False),
        ("/usr/local/lib/foo.sock", False),
        ("/usr/local/bin/foo.so", False),
        ("/srv/notlib.so", False),
    ],
)
def test_the_linker_looks_again_where_a_library_came(path: str, *, looks: bool) -> None:
    tree = made(added(path))
    assert ("Have the linker look at its libraries again" in titles(tree)) is looks
    assert ("'/sbin/ldconfig'" in module(tree)) is looks
    told = imported(Delta(files=(added(path),)), KEPT).tasks
    assert ("ansible.builtin.command" in {one.module for one in told}) is looks


def test_what_is_run_in_the_end_comes_after_all_paths_and_in_its_order() -> None:
    files = (added(LIBRARY), removed(UNIT), added(DROP_IN))
    tree = made(*files, services=(ENDED,))
    assert titles(tree) == [
        "Look at units that go",
        "Stop units that go",
        "Remove files and directories",
        "Put files in place",
        "Have the linker look at its libraries again",
        "Have systemd read its units again",
        "Look at services of which the units changed",
        "Restart those that run",
    ]
    text = module(tree)
    order = re.findall(r"^  (\w+) \{ ('.*'):$", text, re.MULTILINE)
    assert order == [
        ("service", "'own'"),
        ("file", f"'{UNIT}'"),
        ("file", f"'{DROP_IN}'"),
        ("file", f"'{LIBRARY}'"),
        ("exec", "'web: ldconfig'"),
        ("exec", "'web: systemctl daemon-reload'"),
        ("exec", "'web: systemctl try-restart nginx'"),
    ]
    assert "notify => [\n      Exec['web: systemctl try-restart nginx'],\n    ]" in text
    assert f"subscribe   => [\n      File['{LIBRARY}'],\n    ]" in text
    assert f"subscribe   => [\n      File['{UNIT}'],\n      File['{DROP_IN}'],\n    ]" in text
    assert '"own"' not in tree.files["REVIEW.md"].decode()


def test_what_goes_with_a_directory_is_told_by_the_directory() -> None:
    tree = made(removed("/opt/lib", EntryKind.DIRECTORY), removed("/opt/lib/libfoo.so"))
    assert "subscribe   => [\n      File['/opt/lib'],\n    ]" in module(tree)


@pytest.mark.parametrize("path", [DROP_IN, "/etc/fstab", "/etc/init.d/own", f"{UNIT}.d/x"])
def test_systemd_reads_its_units_again_where_no_service_changed(path: str) -> None:
    assert "Have systemd read its units again" in titles(made(added(path)))
    stranger = Delta(files=(added(path),), service_manager=None)
    assert not plan(stranger, KEPT).rereads
    gone = Delta(files=(removed(path),), service_manager="systemd")
    names = [one.name for one in imported(gone, KEPT).tasks]
    assert names[-1] == "Have systemd read its units again (2)"


def test_a_service_that_is_never_restarted_is_named_where_only_its_unit_changed() -> None:
    tree = made(added("/etc/systemd/system/networking.service.d/o.conf"))
    assert "Restart those that run" not in titles(tree)
    assert 'service `"networking"`: it is never restarted' in tree.files["REVIEW.md"].decode()


def test_an_imported_playbook_says_which_services_it_neither_stops_nor_restarts() -> None:
    files = (removed(UNIT), added(DROP_IN))
    delta = Delta(files=files, services=(ENDED,), service_manager="systemd")
    told = {one.subject: one.reason for one in imported(delta, KEPT).reviews}
    assert "has to be stopped before its file goes" in told["own"]
    assert "may have to be restarted" in told["nginx"]
