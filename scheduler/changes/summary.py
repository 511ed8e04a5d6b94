"""A delta in the seed's words: lists of paths, packages, services and the commands in between."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from scheduler.model import (
    ChangeDiff,
    Command,
    CommandSummary,
    Delta,
    FileChange,
    PackageInfo,
    ServiceChange,
    ServiceDifference,
)


def change_diff(delta: Delta, commands: Iterable[CommandSummary] = ()) -> ChangeDiff:
    """Return the normalised change.

    Files that a package's coming, going or other version explains are told by that package.
    """
    own = [one for one in delta.files if one.package is None]
    return ChangeDiff(
        files_modified=_paths(one for one in own if one.before and one.after),
        files_added=_paths(one for one in own if one.before is None),
        files_removed=_paths(one for one in own if one.after is None),
        packages_added=tuple(
            PackageInfo(name=one.name, version=one.after)
            for one in delta.packages
            if one.before is None and one.after is not None
        ),
        packages_removed=tuple(
            PackageInfo(name=one.name, version=one.before)
            for one in delta.packages
            if one.after is None and one.before is not None
        ),
        packages_changed=tuple(one for one in delta.packages if one.before and one.after),
        services_changed=tuple(_service(one) for one in delta.services),
        commands_run=tuple(sorted(commands, key=_when)),
    )


def commands_between(
    commands: Iterable[Command], one: datetime, other: datetime
) -> tuple[CommandSummary, ...]:
    """Return the commands that ran, even if in part, between two moments, by their beginning."""
    begin, end = min(one, other), max(one, other)
    ran = (
        CommandSummary(cmd=each.command, exit_code=each.exit_code, at=each.started_at)
        for each in commands
        if each.started_at < end and (each.ended_at is None or each.ended_at > begin)
    )
    return tuple(sorted(ran, key=_when))


def _when(command: CommandSummary) -> tuple[datetime, str, int]:
    code = command.exit_code
    return command.at, command.cmd, -1 if code is None else code


def _paths(changes: Iterable[FileChange]) -> tuple[str, ...]:
    return tuple(one.path for one in changes)


def _service(change: ServiceDifference) -> ServiceChange:
    """Return what happened to a service; `enabled` is None where that did not change."""
    before, after = change.before, change.after
    was = (before.enabled, before.active) if before else (None, None)
    now = (after.enabled, after.active) if after else (False, False)
    return ServiceChange(
        name=change.name,
        enabled=now[0] if now[0] != was[0] else None,
        state="" if bool(now[1]) == bool(was[1]) else "started" if now[1] else "stopped",
    )
