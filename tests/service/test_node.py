"""The control node's facts are what the kernel says."""

from __future__ import annotations

import grp
import os
import resource
from pathlib import Path

import pytest

from scheduler.service.node import Node, group_exists


def node(state_dir: Path, *secrets: Path) -> Node:
    return Node(
        state_dir=state_dir,
        secrets=secrets,
        socket=state_dir / "admin.sock",
        group="people",
        group_exists=True,
        lag_seconds=lambda: 0.5,
        stuck=lambda: ("writer hangs",),
    )


def test_the_facts_are_those_of_this_machine(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    key = tmp_path / "cluster.key"
    key.write_text("secret")
    key.chmod(0o640)
    (tmp_path / "admin.sock").touch(mode=0o600)
    facts = node(tmp_path, key, tmp_path / "sandboxd.db").look()
    assert (facts.state_dir.path, facts.state_dir.mode) == (str(tmp_path), 0o700)
    assert [(one.path, one.mode) for one in facts.secrets] == [(str(key), 0o640)]
    assert 0 < facts.disk_free < facts.disk_size
    assert 3 <= facts.open_files < facts.most_open_files
    assert facts.most_open_files == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert (facts.group, facts.group_exists) == ("people", True)
    assert facts.socket is not None
    assert facts.socket.mode == 0o600
    assert facts.socket_group == grp.getgrgid((tmp_path / "admin.sock").stat().st_gid).gr_name
    assert (facts.lag_seconds, facts.stuck) == (0.5, ("writer hangs",))


def test_a_socket_that_is_gone_or_of_a_nameless_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = node(tmp_path).look()
    assert facts.socket is not None
    assert facts.socket.missing
    assert facts.socket_group == ""

    def nameless(number: int) -> None:
        raise KeyError(number)

    (tmp_path / "admin.sock").touch()
    monkeypatch.setattr(grp, "getgrgid", nameless)
    assert node(tmp_path).look().socket_group == str((tmp_path / "admin.sock").stat().st_gid)


def test_a_group_exists_or_does_not() -> None:
    assert group_exists(grp.getgrgid(os.getgid()).gr_name)
    assert not group_exists("no-such-group-here")
    assert not group_exists("")


def test_without_a_free_descriptor_all_of_them_are_in_use(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, before[1]))
    try:
        facts = node(tmp_path).look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (facts.open_files, facts.most_open_files) == (1, 1)
