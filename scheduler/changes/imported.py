"""A plan as the tasks of a stored playbook, which has neither loops, conditions nor files.

Each wish is a task of its own, and literal: what a guest chose stands in parameters that are never
evaluated, and no name of a task has a word of it. What such a task cannot say is told as a review.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scheduler.changes import ansible
from scheduler.changes.contents import Contents
from scheduler.changes.plans import Plan, Review, WantedPath, plan
from scheduler.changes.plays import PlannedTask, fault_of_params
from scheduler.changes.repositories import split
from scheduler.model import Delta, EntryKind

MOST_CONTENT_BYTES = 48 * 1024
"""How much a file may hold to be written out in a task."""

Params = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Tasks in the order in which they must be played, and what they do not say."""

    tasks: tuple[PlannedTask, ...]
    reviews: tuple[Review, ...]


def imported(delta: Delta, contents: Contents) -> Imported:
    """Return what brings a machine from before a delta to after it, as far as tasks can say it."""
    wanted = plan(delta, contents)
    reviews = [*wanted.reviews, *ansible.inexpressible(wanted)]
    hidden = {one.subject for one in ansible.inexpressible(wanted)}
    reviews += _unrestarted(wanted)
    reviews += _homeless(wanted)
    tasks: list[PlannedTask] = []
    for what, subject, params in _wishes(wanted, contents, hidden):
        fault = params if isinstance(params, str) else fault_of_params(params[1])
        if fault is not None:
            reviews.append(Review(kind="path", subject=subject, reason=fault, tool=ansible.TOOL))
            continue
        assert not isinstance(params, str)
        module, parameters = params
        name = f"{what} ({len(tasks) + 1})"
        tasks.append(PlannedTask(name=name, module=module, params=parameters, literal=True))
    return Imported(tasks=tuple(tasks), reviews=tuple(reviews))


Wish = tuple[str, str, tuple[str, Params] | str]
"""What it is, of what, and the module with its parameters, or why there are none."""


def _wishes(wanted: Plan, contents: Contents, hidden: set[str]) -> Iterator[Wish]:
    first, rest = split(wanted)
    yield from _gone_packages(wanted)
    yield from _paths(first, contents, hidden)
    yield from _accounts(wanted)
    yield from _packages(wanted)
    yield from _paths(rest, contents, hidden)
    if wanted.libraries:
        task = ("ansible.builtin.command", ansible.LDCONFIG)
        yield "Have the linker look at its libraries again", "libraries", task
    if wanted.services or wanted.rereads:
        yield "Have systemd read its units again", "systemd", (_SERVICE, {"daemon_reload": True})
    for service in wanted.services:
        wish: dict[str, object] = {"name": service.name}
        if service.enabled is not None:
            wish["enabled"] = service.enabled
        if service.running is not None:
            wish["state"] = "started" if service.running else "stopped"
        yield "Enable or start a service", service.name, (_SERVICE, wish)


_SERVICE = "ansible.builtin.systemd_service"


def _unrestarted(wanted: Plan) -> Iterator[Review]:
    """Yield what may run since before what it reads came, or went."""
    if wanted.packages or wanted.removed or wanted.paths:
        reason = "it may have to be restarted after the first play: a task would need a condition"
        for one in wanted.services:
            if one.restarts:
                yield Review(kind="service", subject=one.name, reason=reason, tool=ansible.TOOL)
        for name in wanted.reconfigured:
            yield Review(kind="service", subject=name, reason=reason, tool=ansible.TOOL)
    for name in wanted.ended:
        reason = "it has to be stopped before its file goes: a task would need a condition"
        yield Review(kind="service", subject=name, reason=reason, tool=ansible.TOOL)


def _homeless(wanted: Plan) -> Iterator[Review]:
    for one in wanted.homes:
        reason = f"its package may leave it to whoever makes the account {one.name}, as this does"
        yield Review(kind="path", subject=one.home, reason=reason, tool=ansible.TOOL)


def _paths(wanted: Plan, contents: Contents, hidden: set[str]) -> Iterator[Wish]:
    for one in wanted.removed:
        if one.path not in hidden:
            params = {"path": one.path, "state": "absent"}
            yield "Remove a file or directory", one.path, ("ansible.builtin.file", params)
    for one in wanted.paths:
        if one.path in hidden:
            continue
        if one.was is not None:
            yield "", one.path, f"it was a {one.was.value}: a task would need a condition"
        else:
            yield _path(one, contents)


def _gone_packages(wanted: Plan) -> Iterator[Wish]:
    module = ansible.PACKAGE_MODULES.get(wanted.package_manager or "", "")
    if wanted.absent_packages:
        gone: Params = {"name": list(wanted.absent_packages), "state": "absent"}
        yield "Remove packages", "packages", (module, gone)
    if wanted.purged_packages:
        purged: Params = {"name": list(wanted.purged_packages), "state": "absent", "purge": True}
        yield "Remove packages and their configuration", "packages", (module, purged)


def _accounts(wanted: Plan) -> Iterator[Wish]:
    for group in wanted.made.groups:
        made: Params = {"name": group.name, "gid": group.gid, "system": True}
        yield "Make a group", group.name, ("ansible.builtin.group", made)
    for one in wanted.made.accounts:
        params: Params = {
            "name": one.name,
            "uid": one.uid,
            "group": str(one.gid),
            "home": one.home,
            "create_home": False,
            "system": True,
        }
        yield "Make an account", one.name, ("ansible.builtin.user", params)


def _packages(wanted: Plan) -> Iterator[Wish]:
    module = ansible.PACKAGE_MODULES.get(wanted.package_manager or "", "")
    if wanted.packages:
        separator = "=" if wanted.package_manager == "dpkg" else "-"
        names = [f"{one.name}{separator}{one.version}" for one in wanted.packages]
        params: dict[str, object] = {"name": names, "state": "present"}
        if any(one.replaces for one in wanted.packages):
            params["allow_downgrade"] = True
        if wanted.package_manager == "dpkg":
            params["update_cache"] = True
        yield "Install packages in the versions that were seen", "packages", (module, params)


def _path(one: WantedPath, contents: Contents) -> Wish:
    owned = {"owner": one.owner, "group": one.group}
    if one.kind is EntryKind.SYMLINK:
        link: Params = {
            "path": one.path,
            "src": one.target,
            "state": "link",
            "force": True,
            "follow": False,
            **owned,
        }
        return "Make a symbolic link", one.path, ("ansible.builtin.file", link)
    owned["mode"] = one.mode
    if one.kind is EntryKind.DIRECTORY:
        made: Params = {"path": one.path, "state": "directory", **owned}
        return "Make a directory", one.path, ("ansible.builtin.file", made)
    if one.sha256 is None:
        touched: Params = {"path": one.path, "state": "file", **owned}
        return "Set owner and mode", one.path, ("ansible.builtin.file", touched)
    text = _text(contents.get(one.sha256))
    if text is None:
        why = "its content is no text, or too much for a stored playbook"
        return "", one.path, why
    written: Params = {"dest": one.path, "content": text, **owned}
    return "Put a file in place", one.path, ("ansible.builtin.copy", written)


def _text(content: bytes | None) -> str | None:
    """Return a content that a task can hold, byte for byte."""
    if content is None or len(content) > MOST_CONTENT_BYTES:
        return None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text or len(json.dumps(text)) > MOST_CONTENT_BYTES else text
