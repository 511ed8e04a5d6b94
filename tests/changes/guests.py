"""Deltas of guests that mean well and of one that does not."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from scheduler.model import (
    Delta,
    EntryKind,
    FileChange,
    ManifestEntry,
    PackageChange,
    ServiceDifference,
    ServiceState,
)

CONTENT = b"{{ lookup('pipe', 'id') }}\n$(id) ${::id} <%= `id` %>\x00\xff\n"

HOSTILE = (
    "{{ lookup('pipe','id') }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{# comment #}",
    "#jinja2: variable_start_string:'[['",
    "[[ id ]]",
    "!unsafe x",
    "!!python/object/apply:os.system [id]",
    "&anchor",
    "*anchor",
    "- item",
    "key: value",
    "? complex",
    "| literal",
    "> folded",
    "%TAG ! tag:",
    "---",
    "...",
    "yes",
    "null",
    "~root",
    "0o17",
    "017",
    "1:30",
    "<<",
    "=",
    "1e3",
    "2001-01-01",
    "it's",
    'say "hi"',
    "back\\slash",
    "end\\",
    "; id",
    "`id`",
    "|| id",
    "a\nb: c",
    "a\n\n  b\n",
    "\ttab",
    "carriage\rreturn",
    " leading and trailing ",
    "\x01\x1b[31mred\x7f",
    "\u202egnp.exe",
    "\u0085next\u2028line",
    "\ufeffbom",
    "umlaut \xfc\xdf",
    "emoji \U0001f600",
    "%s %d %(x)s",
    "<%= `id` %>",
    "</details><script>alert(1)</script>",
    "# heading",
    "a`b``c",
    "[link](javascript:alert(1))",
    "-rf",
    "*",
    "x" * 255,
    "long " * 40,
)
"""Names that mean something to whoever interprets them."""

EXPANDED = ("$HOME", "${HOME}", "$(id)", "${facts['os']}", "a$b")
"""Names in which Ansible would expand a variable."""


def digest(content: bytes) -> str:
    """Return a content's name."""
    return hashlib.sha256(content).hexdigest()


def entry(path: str, kind: EntryKind = EntryKind.FILE, **fields: object) -> ManifestEntry:
    """Return an entry of root's; a file's content is `CONTENT`."""
    given: dict[str, object] = {
        "path": path,
        "kind": kind,
        "mode": 0o755 if kind is EntryKind.DIRECTORY else 0o644,
        "uid": 0,
        "gid": 0,
        "owner": "root",
        "group": "root",
    }
    if kind is EntryKind.FILE:
        given |= {"sha256": digest(CONTENT), "size": len(CONTENT)}
    return ManifestEntry(**(given | fields))  # type: ignore[arg-type]


def added(path: str, kind: EntryKind = EntryKind.FILE, **fields: object) -> FileChange:
    """Return a path that came."""
    return FileChange(before=None, after=entry(path, kind, **fields))


def removed(path: str, kind: EntryKind = EntryKind.FILE, **fields: object) -> FileChange:
    """Return a path that went."""
    return FileChange(before=entry(path, kind, **fields), after=None)


def purged() -> Delta:
    """Return a delta of dpkg in which one package was removed, and another one purged."""
    return Delta(
        files=(
            replace(removed("/etc/gone.conf", pristine=True, package="purged"), package="purged"),
        ),
        packages=(
            PackageChange(name="purged", before="1", after=None),
            PackageChange(name="removed", before="1", after=None),
        ),
        package_manager="dpkg",
    )


def hostile(directory: str, names: tuple[str, ...] = HOSTILE) -> Delta:
    """Return a delta in which everything that a guest chooses is hostile."""
    files = []
    for number, name in enumerate(names):
        place = f"{directory}/{number}"
        files += [
            added(place, EntryKind.DIRECTORY),
            added(f"{place}/{name}"),
            added(f"{place}/d{name}", EntryKind.DIRECTORY),
            added(f"{place}/l{name}", EntryKind.SYMLINK, target=name, mode=0o777),
            added(f"{place}/p{name}", EntryKind.OTHER),
            removed(f"{place}/r{name}"),
        ]
    return Delta(
        files=tuple(sorted(files, key=lambda one: one.path)),
        packages=tuple(PackageChange(name=name, before=None, after="1") for name in names),
        package_manager="dpkg",
        services=tuple(
            ServiceDifference(
                name=name, before=None, after=ServiceState(name=name, enabled=True, active=True)
            )
            for name in names
        ),
        service_manager="systemd",
    )
