"""A plan as a Puppet module.

What a guest chose is a string in single quotes, in which Puppet knows two escapes and interprets
nothing; one with characters that a reader could not see is written with every one of them escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from scheduler.changes.plans import Plan, WantedPath, is_library
from scheduler.changes.repositories import split
from scheduler.changes.unit_files import is_unit_file
from scheduler.changes.wanted_packages import WantedPackage
from scheduler.changes.wanted_services import WantedService
from scheduler.model import EntryKind, unit_type

LINE = 140
"""What puppet-lint takes for a long line."""
_RESERVED = frozenset(
    {
        *("and", "application", "attr", "case", "class", "component", "consumes", "default"),
        *("define", "elsif", "else", "environment", "false", "function", "if", "import", "in"),
        *("init", "inherits", "main", "node", "or", "plan", "private", "produces", "settings"),
        *("site", "true", "type", "undef", "unit", "unless"),
    }
)
_SYSTEMCTL = "/bin/systemctl"
_STOPPED = partial(WantedService, enabled=None, running=False)
_LETTERS = (("r", 4), ("w", 2), ("x", 1))
_NEEDS_ESCAPES = re.compile(r"[^\x20-\x7e]")

Attribute = tuple[str, str]


def fault_of_name(name: str) -> str | None:
    """Return why a module cannot be called so, None when it can."""
    if name in _RESERVED:
        return f"{name} is a word of Puppet's own"
    return None


def files(plan: Plan, module: str, title: str) -> dict[str, bytes]:
    """Return the module's own files by their path; contents are not among them."""
    metadata = {
        "name": f"sandboxd-{module}",
        "version": "0.1.0",
        "author": "sandboxd",
        "summary": title,
        "license": "proprietary",
        "source": "sandboxd",
        "dependencies": [],
        "requirements": [{"name": "puppet", "version_requirement": ">= 6.0.0 < 9.0.0"}],
    }
    return {
        f"{module}/metadata.json": f"{json.dumps(metadata, indent=2)}\n".encode("ascii"),
        f"{module}/manifests/init.pp": _manifest(plan, module, title).encode("ascii"),
    }


def contents(plan: Plan, module: str) -> dict[str, str]:
    """Return the paths of the contents that the module brings along, with their digests."""
    digests = {one.sha256 for one in plan.written if one.sha256}
    return {f"{module}/files/{digest}": digest for digest in sorted(digests)}


def string(text: str) -> str:
    """Return a string that means exactly this text."""
    if not _NEEDS_ESCAPES.search(text):
        return "'{}'".format(text.replace("\\", "\\\\").replace("'", "\\'"))
    return '"{}"'.format("".join(map(_escaped, text)))


def _escaped(character: str) -> str:
    if character in '"\\$':
        return f"\\{character}"
    return character if " " <= character <= "~" else f"\\u{{{ord(character):x}}}"


def _manifest(plan: Plan, module: str, title: str) -> str:
    resources = "\n".join(_resources(plan, module))
    body = f"\n{resources}" if resources else ""
    return f"# @summary {title}\nclass {module} {{\n{body}}}\n".replace("{\n\n", "{\n", 1)


def _resources(plan: Plan, module: str) -> Iterable[str]:
    """Yield every resource; each list waits for the one before it, as Puppet follows the order."""
    first, rest = split(plan)
    yield from _restarts(plan, module)
    yield from _ends(plan)
    yield from _paths(first, module)
    yield from _accounts(plan)
    yield from _packages(plan, first, module)
    yield from _paths(rest, module)
    yield from _looks(plan, module)
    for service in plan.services:
        yield _resource("service", service.name, _run(service))


def _ends(plan: Plan) -> Iterable[str]:
    for name in plan.ended:
        yield _resource("service", name, _run(_STOPPED(name=name)))
    for name in plan.absent_packages:
        yield _resource("package", name, [("ensure", "absent")])
    for name in plan.purged_packages:
        yield _resource("package", name, [("ensure", "purged")])


def _packages(plan: Plan, repositories: Plan, module: str) -> Iterable[str]:
    if plan.package_manager == "dpkg" and plan.packages:
        yield from _update(repositories, module)
    for package in plan.packages:
        yield _package(package)
    for account in plan.homes:
        # A shell takes such names and paths for themselves.
        owner = f"-o {account.name} -g {account.gid}"
        command = f"/usr/bin/install -d {owner} -m 0755 {account.home}"
        attributes = [("command", string(command)), ("creates", string(account.home))]
        yield _resource("exec", f"{module}: home of {account.name}", attributes)


def _looks(plan: Plan, module: str) -> Iterable[str]:
    """Yield what has the linker and systemd look at what came."""
    if plan.libraries:
        yield _refreshed(
            f"{module}: ldconfig",
            "/sbin/ldconfig",
            _changed(plan, is_library),
            ("onlyif", "'/usr/bin/test -e /etc/ld.so.cache'"),
        )
    if plan.rereads:
        reload = f"{_SYSTEMCTL} daemon-reload"
        yield _refreshed(f"{module}: systemctl daemon-reload", reload, _changed(plan, is_unit_file))
    for name in plan.reconfigured:
        # A shell takes such names for themselves, in quotes.
        yield _refreshed(_restart(name, module), f"{_SYSTEMCTL} try-restart -- '{name}.service'")


def _paths(plan: Plan, module: str) -> Iterable[str]:
    for one in plan.removed:
        forced = [("force", "true")] if one.kind is EntryKind.DIRECTORY else []
        yield _resource("file", one.path, [("ensure", "absent"), *forced])
    for one in plan.paths:
        yield _resource("file", one.path, [*_kind(one, module), *_owned(one)])


def _accounts(plan: Plan) -> Iterable[str]:
    for group in plan.made.groups:
        attributes = [("ensure", "present"), ("gid", str(group.gid)), ("system", "true")]
        yield _resource("group", group.name, attributes)
    for one in plan.made.accounts:
        attributes = [
            ("ensure", "present"),
            ("uid", str(one.uid)),
            ("gid", str(one.gid)),
            ("home", string(one.home)),
            ("system", "true"),
        ]
        yield _resource("user", one.name, attributes)


def _package(one: WantedPackage) -> str:
    """Return what has a package installed; several versions of one need names that differ."""
    if one.beside:
        # rpm finds a version by this name, and asks for no epoch there.
        title = f"{one.name}-{one.version.rpartition(':')[2]}"
        return _resource("package", title, [("ensure", "installed")])
    return _resource("package", one.name, [("ensure", string(one.version))])


def _update(repositories: Plan, module: str) -> Iterable[str]:
    """Yield what has apt look at repositories that changed, before it is asked for packages."""
    paths = [*repositories.removed, *repositories.paths]
    if paths:
        by = [one.path for one in paths]
        yield _refreshed(f"{module}: apt-get update", "/usr/bin/apt-get update", by)


def _changed(plan: Plan, matters: Callable[[str], bool]) -> list[str]:
    """Return the paths that matter; what goes with a directory is told by that directory."""
    paths = [one.path for one in (*plan.removed, *plan.paths) if matters(one.path)]
    return paths or [one.path for one in plan.removed if one.kind is EntryKind.DIRECTORY]


def _restart(service: str, module: str) -> str:
    return f"{module}: systemctl try-restart {service}"


def _refreshed(title: str, command: str, by: Sequence[str] = (), *conditions: Attribute) -> str:
    """Return a command that is run when something of these paths, or what notifies it, changed."""
    attributes = [("command", string(command)), *conditions, ("refreshonly", "true")]
    if by:
        told = "".join(f"      File[{string(path)}],\n" for path in by)
        attributes.append(("subscribe", f"[\n{told}    ]"))
    return _resource("exec", title, attributes)


def _restarts(plan: Plan, module: str) -> Iterable[str]:
    """Yield what has services restarted by whatever of the others changes something."""
    services = [f"Service[{string(one.name)}]" for one in plan.services if one.restarts]
    services += [f"Exec[{string(_restart(one, module))}]" for one in plan.reconfigured]
    told = "".join(f"      {name},\n" for name in services)
    packages = plan.absent_packages or plan.purged_packages or plan.packages
    for kind, there in (("Package", packages), ("File", plan.removed or plan.paths)):
        if services and there:
            yield _linted(f"  {kind} {{\n    notify => [\n{told}    ],\n  }}")


def _run(service: WantedService) -> list[Attribute]:
    attributes: list[Attribute] = []
    if service.running is not None:
        attributes.append(("ensure", "running" if service.running else "stopped"))
    if service.enabled is not None:
        attributes.append(("enable", "true" if service.enabled else "false"))
    if unit_type(service.name) != "service":
        # Other providers would look for a service of that name.
        attributes.append(("provider", "systemd"))
    return attributes


def _kind(one: WantedPath, module: str) -> list[Attribute]:
    if one.kind is EntryKind.DIRECTORY:
        attributes = [("ensure", "directory")]
    elif one.kind is EntryKind.SYMLINK:
        attributes = [("ensure", "link"), ("target", string(one.target))]
    else:
        attributes = [("ensure", "file")]
        if one.sha256 is not None:
            attributes.append(("source", string(f"puppet:///modules/{module}/{one.sha256}")))
    return [*attributes, ("force", "true")] if one.was is EntryKind.DIRECTORY else attributes


def _owned(one: WantedPath) -> list[Attribute]:
    owned = [("owner", string(one.owner)), ("group", string(one.group))]
    return owned if one.kind is EntryKind.SYMLINK else [*owned, ("mode", string(_mode(one)))]


def _mode(one: WantedPath) -> str:
    """Return a mode that Puppet sets as it is.

    To a directory's digits it adds x wherever they have r. In letters it adds none, but leaves the
    bits that they do not speak of: the special ones are taken away before they are given.
    """
    bits = int(one.mode, 8)
    if one.kind is not EntryKind.DIRECTORY or not bits & 0o444 & ~(bits << 2):
        return one.mode
    classes = (("u", 6, "s", 0o4000), ("g", 3, "s", 0o2000), ("o", 0, "t", 0o1000))
    told = ["a-st"]
    for who, place, special, bit in classes:
        held = "".join(letter for letter, of in _LETTERS if bits >> place & of)
        told.append(f"{who}={held}{special if bits & bit else ''}")
    return ",".join(told)


def _resource(kind: str, title: str, attributes: list[Attribute]) -> str:
    width = max(len(name) for name, _ in attributes)
    lines = [f"  {kind} {{ {string(title)}:"]
    lines += [f"    {name:<{width}} => {value}," for name, value in attributes]
    return _linted("\n".join([*lines, "  }"]))


def _linted(text: str) -> str:
    ignored = _ignored(text)
    if not ignored:
        return f"{text}\n"
    checks = " ".join(f"lint:ignore:{check}" for check in ignored)
    return f"  # {checks}\n{text}\n  # lint:endignore\n"


def _ignored(text: str) -> list[str]:
    """Return the checks that mistake data for code, where this resource would fail them."""
    found = []
    if any(len(line) > LINE for line in text.split("\n")):
        found.append("140chars")
    if '"' in text and "\\u{" in text:
        found.append("double_quoted_strings")
    if "$" in text:
        found.append("single_quote_string_with_variables")
    return found
