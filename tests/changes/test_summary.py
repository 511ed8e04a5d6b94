"""A delta in the seed's words, as a whole once and by tables where there are cases."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from scheduler.changes.delta import delta
from scheduler.changes.noise import DEFAULT_NOISE
from scheduler.changes.summary import change_diff, commands_between
from scheduler.model import (
    ChangeDiff,
    Command,
    CommandStatus,
    CommandSummary,
    Delta,
    PackageChange,
    PackageInfo,
    ServiceChange,
    ServiceDifference,
    ServiceState,
)
from tests.changes.manifests import AT, directory, file, link, manifest


def test_a_whole_change_in_the_seeds_words() -> None:
    before = manifest(
        file("/etc/a"),
        file("/etc/b"),
        packages=(PackageInfo(name="old", version="1"), PackageInfo(name="up", version="1")),
        services=(ServiceState(name="nginx", enabled=False, active=False),),
    )
    after = manifest(
        file("/etc/a", mode=0o600),
        directory("/etc/d"),
        link("/etc/d/l", "/etc/a"),
        file("/etc/n.conf", package="new", pristine=True),
        packages=(PackageInfo(name="new", version="1~2"), PackageInfo(name="up", version="2")),
        services=(ServiceState(name="nginx", enabled=True, active=True),),
    )
    ran = CommandSummary(cmd="true", exit_code=0, at=AT)
    early = CommandSummary(cmd="kill -9 $$", exit_code=None, at=AT - timedelta(seconds=1))
    assert change_diff(delta(before, after, DEFAULT_NOISE), (ran, early)) == ChangeDiff(
        files_modified=("/etc/a",),
        files_added=("/etc/d", "/etc/d/l"),
        files_removed=("/etc/b",),
        packages_added=(PackageInfo(name="new", version="1~2"),),
        packages_removed=(PackageInfo(name="old", version="1"),),
        packages_changed=(PackageChange(name="up", before="1", after="2"),),
        services_changed=(ServiceChange(name="nginx", enabled=True, state="started"),),
        commands_run=(early, ran),
    )


@pytest.mark.parametrize(
    ("before", "after", "enabled", "state"),
    [
        ((True, True), (True, False), None, "stopped"),
        ((True, False), (False, False), False, ""),
        ((True, True), None, False, "stopped"),
        (None, (None, True), None, "started"),
        (None, (True, None), True, ""),
    ],
)
def test_what_happened_to_a_service(
    before: tuple[bool, bool] | None,
    after: tuple[bool, bool] | None,
    enabled: bool | None,
    state: str,
) -> None:
    sides = [
        None if one is None else ServiceState(name="s", enabled=one[0], active=one[1])
        for one in (before, after)
    ]
    change = ServiceDifference(name="s", before=sides[0], after=sides[1])
    (told,) = change_diff(Delta(services=(change,))).services_changed
    assert told == ServiceChange(name="s", enabled=enabled, state=state)


def command(name: str, started: int, ended: int | None) -> Command:
    return Command(
        id=name,
        sandbox_id="SBX-1",
        command=name,
        started_at=at(started),
        ended_at=None if ended is None else at(ended),
        exit_code=None if ended is None else 0,
        status=CommandStatus.RUNNING if ended is None else CommandStatus.EXITED,
    )


def at(seconds: int) -> datetime:
    return AT + timedelta(seconds=seconds)


@pytest.mark.parametrize("backwards", [False, True])
def test_commands_that_ran_between_two_moments(*, backwards: bool) -> None:
    commands = (
        command("at the end", 20, 21),
        command("still running", 19, None),
        command("into it", 5, 11),
        command("before", 5, 10),
        command("long before and on", 1, None),
        command("within", 12, 13),
    )
    ends = (at(20), at(10)) if backwards else (at(10), at(20))
    assert [one.cmd for one in commands_between(commands, *ends)] == [
        "long before and on",
        "into it",
        "within",
        "still running",
    ]
