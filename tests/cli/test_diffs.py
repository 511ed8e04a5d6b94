"""diff on the command line: what is shown to people, to scripts and as documents."""

from __future__ import annotations

import pytest

from scheduler.model import Sandbox
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl
from tests.service.snapshots_taken import before_and_after


@pytest.fixture
async def box(fleet: Fleet) -> Sandbox:
    """A sandbox with two snapshots."""
    made = await fleet.plane.create(sandbox_name="box")
    await before_and_after(fleet.plane, made)
    return made


async def test_a_diff_for_people(box: Sandbox, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("diff", "box", "before", "after", "--unified")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert "5 files (2 added, 2 changed, 1 removed), 2 packages, 1 service" in lines[0]
    for expected in (
        "+ hello 1",
        "~ up 1 -> 2 (1 file)",
        "~ /etc/motd content 8 B -> 13 B, mode 0644 -> 0600",
        "- /etc/gone file 0644 0:0 1 B",
        "+ /etc/new directory 0755 0:0",
        "+ /etc/new/link symlink 0777 0:0 -> ../motd",
        "~ nginx disabled -> enabled, stopped -> running",
        "left out as noise: 1: /etc/resolv.conf (1)",
        r"+\x1b[31m2",
        "/etc/gone: not shown: its content was not kept",
    ):
        assert expected in [" ".join(line.split()) for line in lines]
    assert "\x1b" not in ran.out


async def test_a_diff_for_scripts(box: Sandbox, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("diff", "box", "before", "after", "--stat", "--exit-code")
    assert ran.code == 1
    assert len(ran.out.splitlines()) == 3
    same = await sandboxctl.run("diff", "box", "after", "after", "--exit-code")
    assert (same.code, len(same.out.splitlines())) == (0, 1)
    document = await sandboxctl.run("diff", "box", "before", "after", "-o", "json")
    assert document.document["diff_json"]["files_removed"] == ["/etc/gone"]
    quiet = await sandboxctl.run("diff", "box", "before", "after", "--noise", "/etc/**")
    assert "1 file (1 changed)" in quiet.out


async def test_a_diff_that_cannot_be(box: Sandbox, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("diff", "box", "before", "nothing")
    assert ran.code == 3
    ran = await sandboxctl.run("diff", "box", "before", "after", "--noise", "srv")
    assert ran.code == 2
    assert "begins with '/'" in ran.err
