"""Change sets in the hands of the tools they are for: judged, and played on this machine.

The corpus goes through all of them; a name that ran as code would leave a file behind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.changes import unit_files
from scheduler.changes.trees import change_tree
from scheduler.model import Delta, EntryKind, FileChange, ServiceDifference, ServiceState
from tests.changes.guests import CONTENT, EXPANDED, HOSTILE, added, digest, entry, hostile, removed
from tests.changes.test_wanted_accounts import CAME, GROUP, GROUPS, PASSWD, SHADOWS, Kept

TOOLS = Path(sys.prefix) / "bin"
LIMIT_S = 280
TELLING = (
    "{{ lookup('pipe','id') }}",
    "017",
    "it's",
    "end\\",
    "a\nb: c",
    "\x01\x1b[31mred\x7f",
    "\u202egnp.exe",
    "${facts['os']}",
)
"""One for each way in which a name could be misread."""
NAMES = tuple(name for name in (*HOSTILE, *EXPANDED) if len(name.encode()) < 250)


def environment(home: Path) -> dict[str, str]:
    return {
        "PATH": f"{home}/tools:{TOOLS}:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
    }


def run(directory: Path, command: Sequence[str], *, code: int = 0) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment(directory.parent),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def written(directory: Path, delta: Delta, contents: Mapping[str, bytes] | None = None) -> Path:
    made = change_tree(
        delta,
        contents or {digest(CONTENT): CONTENT},
        name="changes",
        title="what was done in a sandbox",
    )
    kept = contents or {digest(CONTENT): CONTENT}
    for path, content in (
        *made.files.items(),
        *((path, kept[name]) for path, name in made.contents.items()),
    ):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    return directory


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    delta = hostile("/srv/it", HOSTILE + EXPANDED)
    became = FileChange(
        before=entry("/was", EntryKind.DIRECTORY),
        after=entry("/was", EntryKind.SYMLINK, target="/"),
    )
    gone = ServiceDifference(name="own", before=ServiceState(name="own", active=True), after=None)
    kept = Kept({digest(CONTENT): CONTENT})
    accounts = tuple(
        kept.changed(path, before, after)
        for path, before, after in (("/etc/group", GROUP, GROUPS), ("/etc/passwd", PASSWD, CAME))
    )
    units = (
        *accounts,
        *map(added, SHADOWS),
        removed("/etc/systemd/system/own.service"),
        added(r"/etc/systemd/system/srv-a\x2db.service.d/o.conf"),
        added("/usr/local/lib/libown.so.1"),
    )
    return written(
        tmp_path_factory.mktemp("corpus") / "set",
        replace(
            delta,
            files=(*delta.files, became, removed("/gone", EntryKind.DIRECTORY), *units),
            services=(*delta.services, gone),
        ),
        kept,
    )


@pytest.mark.timeout(LIMIT_S)
def test_ansible_lint_finds_nothing_under_its_strictest_profile(corpus: Path) -> None:
    """It checks the syntax with ansible-playbook, too.

    It only wonders at the blanks in what it takes for templates, though they are marked as data.
    """
    command = ["ansible-lint", "--offline", "--profile", "production", "--format", "json"]
    found = json.loads(run(corpus / "ansible", [*command, "site.yml", "roles"]))
    assert {one["check_name"] for one in found} <= {"jinja[spacing]"}


@pytest.mark.timeout(LIMIT_S)
def test_puppet_and_puppet_lint_find_nothing(corpus: Path) -> None:
    manifest = "changes/manifests/init.pp"
    assert run(corpus / "puppet", ["puppet", "parser", "validate", manifest]) == ""
    command = ["puppet-lint", "--json", "--fail-on-warnings", "changes"]
    assert json.loads(run(corpus / "puppet", command)) == [[]]


EACH = pytest.mark.parametrize(
    "names", [TELLING, pytest.param(NAMES, marks=pytest.mark.slow)], ids=["telling", "all"]
)


def sampled(directory: Path, names: Sequence[str]) -> Delta:
    """Return each hostile name as one kind of path, so that each kind meets many of them."""
    changes: list[FileChange] = []
    for number, name in enumerate(names):
        path = f"{directory}/{name.replace('/', '|')}"
        one = (
            added(path),
            added(path, EntryKind.DIRECTORY, mode=0o2710),
            added(path, EntryKind.SYMLINK, target=name, mode=0o777),
            removed(path),
        )[number % 4]
        changes.append(one)
    return Delta(files=tuple(changes))


def prepared(directory: Path, delta: Delta) -> None:
    directory.mkdir()
    for change in delta.files:
        if change.after is None:
            Path(change.path).write_bytes(b"to be removed")


def check(delta: Delta, *, but: Sequence[str] = ()) -> None:
    for change in delta.files:
        path, wanted = Path(change.path), change.after
        if change.path in but:
            continue
        if wanted is None:
            assert not os.path.lexists(path), path
        elif wanted.kind is EntryKind.SYMLINK:
            assert str(path.readlink()) == wanted.target
        else:
            assert stat.S_IMODE(path.lstat().st_mode) == wanted.mode, path
            assert path.is_dir() if wanted.kind is EntryKind.DIRECTORY else True
        if wanted is not None and wanted.kind is EntryKind.FILE:
            assert path.read_bytes() == CONTENT


@EACH
@pytest.mark.timeout(LIMIT_S)
def test_ansible_takes_every_name_for_a_name(names: Sequence[str], tmp_path: Path) -> None:
    target = tmp_path / "target"
    delta = sampled(target, names)
    prepared(target, delta)
    play = written(tmp_path / "set", delta)
    made = change_tree(delta, {digest(CONTENT): CONTENT}, name="changes", title="x")
    left = [one.subject for one in made.reviews]
    variables = ["-e", f"ansible_python_interpreter={sys.executable}"]
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", *variables, "site.yml"]
    run(play / "ansible", command)
    check(delta, but=left)
    wanted = {Path(one.path).name for one in delta.files if one.after and one.path not in left}
    kept = {Path(one.path).name for one in delta.files if not one.after and one.path in left}
    assert {path.name for path in target.iterdir()} == wanted | kept
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("set", "target")] in (
        [],
        [".ansible"],
    )


@EACH
@pytest.mark.timeout(LIMIT_S)
def test_puppet_takes_every_name_for_a_name(names: Sequence[str], tmp_path: Path) -> None:
    target = tmp_path / "target"
    delta = sampled(target, names)
    prepared(target, delta)
    module = written(tmp_path / "set", delta) / "puppet"
    command = [
        *("puppet", "apply", "--modulepath", str(module), "--detailed-exitcodes"),
        *("--confdir", str(tmp_path / "conf"), "--vardir", str(tmp_path / "var")),
        *("-e", "include changes"),
    ]
    run(module, command, code=2)
    check(delta)
    assert {path.name for path in target.iterdir()} == {
        Path(one.path).name for one in delta.files if one.after
    }
    run(module, command)


@pytest.mark.timeout(LIMIT_S)
def test_directories_get_their_modes_and_no_others(tmp_path: Path) -> None:
    """Puppet adds x to a directory's digits; whatever bits were there before are gone."""
    target = tmp_path / "target"
    modes = (0o640, 0o744, 0o2640, 0o7604, 0o1444, 0o2755)
    paths = [str(target / f"{mode:04o}-{was}") for mode in modes for was in ("new", "there")]
    delta = Delta(
        files=tuple(
            added(path, EntryKind.DIRECTORY, mode=mode)
            for path, mode in zip(paths, (mode for mode in modes for _ in range(2)), strict=True)
        )
    )
    made = written(tmp_path / "set", delta)
    puppet = [
        *("puppet", "apply", "--modulepath", str(made / "puppet"), "--detailed-exitcodes"),
        *("--confdir", str(tmp_path / "conf"), "--vardir", str(tmp_path / "var")),
        *("-e", "include changes"),
    ]
    variables = ["-e", f"ansible_python_interpreter={sys.executable}"]
    ansible = ["ansible-playbook", "-i", "localhost,", "-c", "local", *variables, "site.yml"]
    for tool, command, code in (("puppet", puppet, 2), ("ansible", ansible, 0)):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for path in paths[1::2]:
            Path(path).mkdir()
            Path(path).chmod(0o7175)
        run(made / tool, command, code=code)
        check(delta)
    run(made / "puppet", puppet)


SYSTEMCTL = """#!/bin/sh
cd "$(dirname "$0")" || exit 1
verb=$1 unit=$2
case $verb in
show) active=inactive; [ -e "active-$unit" ] && active=active
    loaded=loaded; [ -e "missing-$unit" ] && loaded=not-found
    printf 'Id=%s\\nLoadState=%s\\nActiveState=%s\\n' "$unit" $loaded $active ;;
is-enabled) if [ -e "enabled-$unit" ]; then echo enabled; else echo disabled; exit 1; fi ;;
is-active) [ -e "active-$unit" ] ;;
enable) : >"enabled-$unit" ;;
start | restart) : >"active-$unit" ;;
stop) rm "active-$unit" ;;
list-unit-files) echo "$unit enabled" ;;
esac
case $verb in enable | start | restart | stop | daemon-reload) echo "$verb $unit" >>asked ;; esac
"""
"""A service manager of some units: what it was asked to change stands in `asked`."""


def service_manager(place: Path, *active: str) -> Path:
    """Make the tools of a machine on which these units run."""
    tools = place / "tools"
    tools.mkdir(parents=True)
    (tools / "systemctl").write_text(SYSTEMCTL)
    (tools / "systemctl").chmod(0o755)
    for unit in active:
        (tools / f"active-{unit}").touch()
    return tools


def asked(tools: Path) -> list[str]:
    """Return what the service manager was asked to change since the last time."""
    try:
        return [one.strip() for one in (tools / "asked").read_text().splitlines()]
    finally:
        (tools / "asked").unlink(missing_ok=True)


@pytest.mark.timeout(LIMIT_S)
def test_a_service_is_restarted_once_where_its_configuration_came_and_never_again(
    tmp_path: Path,
) -> None:
    tools = service_manager(tmp_path / "set", "ran", "network")
    services = tuple(
        ServiceDifference(
            name=name, before=None, after=ServiceState(name=name, enabled=True, active=True)
        )
        for name in ("network", "new", "ran")
    )
    delta = Delta(
        files=(added(str(tmp_path / "conf")),), services=services, service_manager="systemd"
    )
    play = written(tmp_path / "set", delta) / "ansible"
    variables = ["-e", f"ansible_python_interpreter={sys.executable}"]
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", *variables, "site.yml"]
    run(play, command)
    enabled = ["enable network", "enable new", "start new", "enable ran", "restart ran"]
    assert asked(tools) == ["daemon-reload", *enabled]
    assert "changed=0" in run(play, command)
    assert asked(tools) == ["daemon-reload"]
    (tmp_path / "conf").write_text("somebody's")
    run(play, command)
    assert asked(tools) == ["daemon-reload", "restart new", "restart ran"]


@pytest.mark.timeout(LIMIT_S)
def test_units_stop_before_their_files_go_and_restart_where_their_files_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they are not loaded, or do not run, nothing is asked for."""
    units = f"{tmp_path}/units/"
    monkeypatch.setattr(unit_files, "_PLACES", (units,))
    monkeypatch.setattr(
        unit_files, "_OF_A_SERVICE", re.compile(rf"{units}([^/]+)\.service(?:\.d(?:/.*)?)?")
    )
    tools = service_manager(tmp_path / "set", "foo", "runs")
    (tools / "missing-bar").touch()
    gone = tuple(
        ServiceDifference(name=name, before=ServiceState(name=name, active=True), after=None)
        for name in ("bar", "foo")
    )
    files = (
        *(removed(f"{units}{name}.service") for name in ("bar", "foo")),
        *(added(f"{units}{name}.service.d", EntryKind.DIRECTORY) for name in ("rests", "runs")),
        *(added(f"{units}{name}.service.d/o.conf") for name in ("rests", "runs")),
    )
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "foo.service").touch()
    delta = Delta(files=files, services=gone, service_manager="systemd")
    play = written(tmp_path / "set", delta) / "ansible"
    variables = ["-e", f"ansible_python_interpreter={sys.executable}"]
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", *variables, "site.yml"]
    run(play, command)
    assert asked(tools) == ["stop foo", "daemon-reload", "restart runs"]
    assert not (tmp_path / "units" / "foo.service").exists()
    assert "changed=0" in run(play, command)
    assert asked(tools) == ["daemon-reload"]
