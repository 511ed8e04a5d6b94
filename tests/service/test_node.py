"""The control node's facts are what the kernel says."""

from __future__ import annotations

import grp
import os
import resource
from pathlib import Path

from scheduler.service.node import Node


def test_the_facts_are_those_of_this_machine(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    key = tmp_path / "cluster.key"
    key.write_text("secret")
    key.chmod(0o640)
    node = Node(
        state_dir=tmp_path,
        secrets=(key, tmp_path / "sandboxd.db"),
        group=grp.getgrgid(os.getgid()).gr_name,
        lag_seconds=lambda: 0.5,
        stuck=lambda: ("writer hangs",),
    )
    facts = node.look()
    assert (facts.state_dir.path, facts.state_dir.mode) == (str(tmp_path), 0o700)
    assert [(one.path, one.mode) for one in facts.secrets] == [(str(key), 0o640)]
    assert 0 < facts.disk_free < facts.disk_size
    assert 3 <= facts.open_files < facts.most_open_files
    assert facts.most_open_files == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert facts.group_exists
    assert (facts.lag_seconds, facts.stuck) == (0.5, ("writer hangs",))


def test_a_group_may_be_missing_or_none(tmp_path: Path) -> None:
    def look(group: str | None) -> bool:
        return (
            Node(
                state_dir=tmp_path,
                secrets=(),
                group=group,
                lag_seconds=lambda: 0.0,
                stuck=tuple,
            )
            .look()
            .group_exists
        )

    assert look(None)
    assert not look("no-such-group-here")
