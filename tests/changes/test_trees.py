"""A change set's files: deterministic, and nothing that a guest chose is read as anything."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.changes import ansible, puppet
from scheduler.changes.archives import write_archive
from scheduler.changes.plans import plan
from scheduler.changes.puppet import string
from scheduler.changes.review import code
from scheduler.changes.trees import ChangeTree, change_tree, fault_of_name
from scheduler.model import (
    Delta,
    EntryKind,
    FileChange,
    Ignored,
    PackageChange,
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

KEPT = {digest(CONTENT): CONTENT}
ROLE = "ansible/roles/web"


class Parsed(str):
    """A string that was marked as data."""


class Reader(yaml.SafeLoader):
    """Reads as Ansible does: what is marked unsafe is read as if it had no quotes."""

    def unsafe(self, node: yaml.ScalarNode) -> object:
        tag = self.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
        plain = yaml.ScalarNode(tag, node.value)
        value = self.construct_object(plain)
        return Parsed(value) if isinstance(value, str) else value


Reader.add_constructor("!unsafe", Reader.unsafe)


def tree(delta: Delta, name: str = "web") -> ChangeTree:
    return change_tree(delta, KEPT, name=name, title="what was done in a sandbox")


def read(made: ChangeTree, path: str) -> object:
    return yaml.load(made.files[path], Loader=Reader)


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)


def unquoted(text: str) -> str:
    """Return what Puppet takes a string for."""
    if text[0] == "'":
        return re.sub(r"\\(['\\])", r"\1", text[1:-1])
    return re.sub(
        r"\\(?:u\{([0-9a-f]+)\}|(.))",
        lambda match: chr(int(match[1], 16)) if match[1] else match[2],
        text[1:-1],
    )


def test_every_hostile_name_comes_back_as_it_was() -> None:
    names = tuple(name for name in HOSTILE if name != "~root")
    delta = hostile("/srv/it", names)
    variables = read(tree(delta), f"{ROLE}/defaults/main.yml")
    assert isinstance(variables, dict)
    kinds = {
        "web_files": EntryKind.FILE,
        "web_directories": EntryKind.DIRECTORY,
        "web_links": EntryKind.SYMLINK,
    }
    for variable, kind in kinds.items():
        wished = [one["path"] for one in variables[variable]]
        assert wished == [
            one.path for one in delta.files if one.after is not None and one.after.kind is kind
        ]
    targets = [one["target"] for one in variables["web_links"]]
    assert sorted(targets) == sorted(names)
    assert variables["web_removed"] == [one.path for one in delta.files if one.after is None]


def test_whatever_ansible_could_evaluate_is_marked_as_data() -> None:
    made = tree(hostile("/srv/it", HOSTILE + EXPANDED))
    found = list(texts(read(made, f"{ROLE}/defaults/main.yml")))
    for text in found:
        assert isinstance(text, Parsed) or not set(text) & set("{%#$"), text
    marked = {str(text) for text in found if isinstance(text, Parsed)}
    evaluated = [name for name in HOSTILE if set(name) & set("{%#$")]
    assert evaluated
    assert not [name for name in evaluated if not any(name in text for text in marked)]


def test_tasks_and_playbook_have_no_word_of_the_guests() -> None:
    well = tree(hostile("/srv/it", ("plain",)))
    ill = tree(hostile("/srv/it", ("plain", *HOSTILE)))
    for path in ("ansible/site.yml", f"{ROLE}/tasks/main.yml", f"{ROLE}/meta/main.yml"):
        assert well.files[path] == ill.files[path]


@pytest.mark.parametrize("text", [*HOSTILE, *EXPANDED])
def test_a_string_of_puppet_means_the_text_and_nothing_else(text: str) -> None:
    written = string(text)
    assert unquoted(written) == text
    assert written.isascii()
    assert written.isprintable()
    if written[0] == '"':
        assert not re.search(r"(?<!\\)(\\\\)*\$", written)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
@settings(max_examples=200)
def test_any_text_comes_back_from_both_languages(text: str) -> None:
    assert unquoted(string(text)) == text
    delta = Delta(files=(added("/l", EntryKind.SYMLINK, target=text),))
    made = tree(delta)
    variables = read(made, f"{ROLE}/defaults/main.yml")
    expressible = "$" not in text and not text.startswith("~")
    assert variables == {
        "web_links": [{"path": "/l", "owner": "root", "group": "root", "target": text}]
    } or (not expressible and not variables)
    assert all(len(line) <= 160 for line in made.files[f"{ROLE}/defaults/main.yml"].splitlines())


@pytest.mark.parametrize("name", EXPANDED)
def test_what_ansible_would_expand_is_left_for_review_and_puppet_says_it(name: str) -> None:
    delta = Delta(
        files=(
            added(f"/srv/{name}"),
            added("/srv/link", EntryKind.SYMLINK, target=name),
        )
    )
    made = tree(delta)
    assert read(made, f"{ROLE}/defaults/main.yml") == {}
    assert {(one.subject, one.tool) for one in made.reviews} == {
        (f"/srv/{name}", "ansible"),
        ("/srv/link", "ansible"),
    }
    assert string(f"/srv/{name}") in made.files["puppet/web/manifests/init.pp"].decode()
    assert not any(path.startswith("ansible") for path in made.contents)


def test_a_link_to_somebodys_home_is_left_for_review() -> None:
    made = tree(Delta(files=(added("/l", EntryKind.SYMLINK, target="~root"),)))
    assert [one.subject for one in made.reviews] == ["/l"]


def test_paths_of_files_are_named_after_their_content() -> None:
    made = tree(hostile("/srv/it"))
    name = digest(CONTENT)
    assert made.contents == {f"{ROLE}/files/{name}": name, f"puppet/web/files/{name}": name}


def test_the_same_delta_gives_the_same_bytes() -> None:
    delta = hostile("/srv/it")
    assert tree(delta) == tree(replace(delta, files=tuple(reversed(delta.files))))


def everything() -> Delta:
    """Return a delta with every kind of wish."""
    old, new = entry("/was", EntryKind.DIRECTORY), entry("/was", EntryKind.SYMLINK, target="/x")
    files = (
        removed("/old"),
        removed("/olddir", EntryKind.DIRECTORY),
        FileChange(before=entry("/t"), after=entry("/t", mode=0o600)),
        FileChange(before=old, after=new),
    )
    packages = (
        PackageChange(name="gone", before="1", after=None),
        PackageChange(name="hello", before="2", after="1"),
    )
    services = tuple(
        ServiceDifference(name=state.name, before=None, after=state)
        for state in (
            ServiceState(name="a", enabled=True),
            ServiceState(name="b", active=False),
            ServiceState(name="c.timer", enabled=True, active=True),
            ServiceState(name="d", enabled=True, active=True),
            ServiceState(name="networking", enabled=True, active=True),
        )
    )
    return Delta(
        files=files,
        packages=packages,
        package_manager="rpm",
        services=services,
        service_manager="systemd",
        ignored=(Ignored(rule="/tmp/**", differences=3),),
    )


def test_every_kind_of_wish_has_its_task_and_its_resource() -> None:
    made = tree(everything())
    tasks = read(made, f"{ROLE}/tasks/main.yml")
    assert isinstance(tasks, list)
    assert [task["name"] for task in tasks] == [
        "Remove packages",
        "Install packages in the versions that were seen",
        "Look at what becomes something else",
        "Remove what is in the way",
        "Remove files and directories",
        "Set owners and modes",
        "Make symbolic links",
        "Have systemd read its units again",
        "Enable and start services",
    ]
    last = tasks[-1]["vars"]["web_services_changed"]
    assert re.findall(r"web_(\w+)_done is changed", last) == [
        *("absent_packages", "packages", "replaced", "removed", "touched", "links")
    ]
    assert {one["register"] for one in tasks if "register" in one} - {"web_replaced_seen"} == {
        *re.findall(r"web_\w+_done", last)
    }
    assert tasks[1]["ansible.builtin.dnf"]["allow_downgrade"] is True
    variables = read(made, f"{ROLE}/defaults/main.yml")
    assert isinstance(variables, dict)
    assert variables["web_packages"] == ["hello-1"]
    assert variables["web_services"] == [
        {"name": "a", "enabled": True},
        {"name": "b", "state": "stopped"},
        {"name": "c.timer", "enabled": True, "state": "started"},
        {"name": "d", "enabled": True, "state": "started", "restart": True},
        {"name": "networking", "enabled": True, "state": "started"},
    ]
    manifest = made.files["puppet/web/manifests/init.pp"].decode()
    for text in ("ensure => absent", "force  => true", "enable => true", "ensure => stopped"):
        assert text in manifest
    assert "source" not in manifest
    assert "3 under" in made.files["REVIEW.md"].decode()
    assert manifest.count("provider => systemd") == 1
    for kind in ("Package", "File"):
        assert f"  {kind} {{\n    notify => [\n      Service['d'],\n    ],\n  }}\n" in manifest
    assert "never restarted" in made.files["REVIEW.md"].decode()
    assert made.wishes == 11


def test_services_that_nothing_of_the_change_could_reach_are_not_restarted() -> None:
    made = tree(replace(everything(), files=(), packages=()))
    tasks = read(made, f"{ROLE}/tasks/main.yml")
    assert isinstance(tasks, list)
    assert [one.get("vars") for one in tasks] == [None, None]
    assert "notify" not in made.files["puppet/web/manifests/init.pp"].decode()


def test_accounts_are_there_before_the_directories_that_they_own() -> None:
    home = added("/home/alice", EntryKind.DIRECTORY, owner="alice", uid=1000)
    made = tree(Delta(files=(home, added("/etc/passwd"), added("/etc/group"))))
    tasks = read(made, f"{ROLE}/tasks/main.yml")
    assert isinstance(tasks, list)
    assert [task["loop"] for task in tasks] == ["{{ web_accounts }}", "{{ web_directories }}"]
    manifest = made.files["puppet/web/manifests/init.pp"].decode()
    titles = re.findall(r"file \{ '(.*)':", manifest)
    assert titles == ["/etc/group", "/etc/passwd", "/home/alice"]
    assert {path.rpartition("/")[2] for path in made.contents} == {digest(CONTENT)}


def test_what_was_purged_is_purged_after_what_was_removed() -> None:
    made = tree(purged())
    tasks = read(made, f"{ROLE}/tasks/main.yml")
    assert isinstance(tasks, list)
    assert [task["ansible.builtin.apt"] for task in tasks] == [
        {"name": "{{ web_absent_packages }}", "state": "absent"},
        {"name": "{{ web_purged_packages }}", "state": "absent", "purge": True},
    ]
    manifest = made.files["puppet/web/manifests/init.pp"].decode()
    assert re.findall(r"package \{ '(.*)':\n    ensure => (.*),", manifest) == [
        ("removed", "absent"),
        ("purged", "purged"),
    ]
    assert made.wishes == 2


@pytest.mark.parametrize("others", [True, False], ids=["now", "before others were told"])
def test_two_versions_of_a_package_that_came_are_two_resources(*, others: bool) -> None:
    packages = tuple(
        PackageChange(name="kernel-core", before=None, after=version, others=others)
        for version in ("5.14-2", "1:5.14-3")
    )
    made = tree(Delta(packages=packages, package_manager="rpm"))
    manifest = made.files["puppet/web/manifests/init.pp"].decode()
    assert re.findall(r"package \{ '(.*)':\n    ensure => (.*),", manifest) == [
        ("kernel-core-5.14-2", "installed"),
        ("kernel-core-5.14-3", "installed"),
    ]
    variables = read(made, f"{ROLE}/defaults/main.yml")
    assert variables == {"web_packages": ["kernel-core-5.14-2", "kernel-core-1:5.14-3"]}


def test_a_change_of_nothing_is_a_role_of_nothing() -> None:
    made = tree(Delta())
    assert read(made, f"{ROLE}/tasks/main.yml") == []
    assert "Everything that changed is in the code." in made.files["REVIEW.md"].decode()
    assert made.files["puppet/web/manifests/init.pp"] == (
        b"# @summary what was done in a sandbox\nclass web {\n}\n"
    )


def test_the_review_file_shows_names_and_reads_none() -> None:
    made = tree(hostile("/srv/it"))
    text = made.files["REVIEW.md"].decode("ascii")
    assert set(text) - {"\n"} <= set(map(chr, range(32, 127)))
    for line in text.splitlines():
        assert re.match(r"# |## |- |$|Everything|Packages", line)
        if line.startswith("- "):
            outside = re.sub(r"(`+)\"(?:[^`]|(?!\1)`)*\"\1", "", line)
            assert not set(outside) & set("<>[]`*#"), line
    for number, name in enumerate(HOSTILE):
        assert code(f"/srv/it/{number}/p{name}") in text


@pytest.mark.parametrize("text", ["a`b", "``", "`", "plain"])
def test_a_code_span_is_fenced_with_more_ticks_than_it_holds(text: str) -> None:
    span = code(text)
    fence = re.match(r"`+", span)
    assert fence is not None
    assert fence[0] not in span[len(fence[0]) : -len(fence[0])]


@pytest.mark.parametrize("name", ["", "Web", "9a", "a-b", "a/b", "class", "x" * 64])
def test_names_that_no_role_or_module_can_have(name: str) -> None:
    assert fault_of_name(name) is not None


def test_a_name_that_both_can_have() -> None:
    assert fault_of_name("web_2") is None


def test_puppet_metadata_is_json() -> None:
    made = tree(Delta())
    assert json.loads(made.files["puppet/web/metadata.json"])["name"] == "sandboxd-web"


def test_an_archive_depends_on_what_is_in_it_alone() -> None:
    at = datetime(2026, 11, 28, tzinfo=UTC)
    sums = set()
    for _ in range(2):
        target = io.BytesIO()
        write_archive(target, [("a/b", b"x"), ("c", b"")], top="CHG-1", at=at)
        sums.add(hashlib.sha256(target.getvalue()).hexdigest())
    assert len(sums) == 1
    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as archive:
        members = archive.getmembers()
        assert [(one.name, one.size, one.mode, one.uid) for one in members] == [
            ("CHG-1/a/b", 1, 0o644, 0),
            ("CHG-1/c", 0, 0o644, 0),
        ]
        assert {one.mtime for one in members} == {int(at.timestamp())}


def test_both_tools_are_asked_for_the_same() -> None:
    wanted = plan(hostile("/srv/it"), KEPT)
    assert set(ansible.contents(wanted, "x").values()) == set(puppet.contents(wanted, "x").values())
