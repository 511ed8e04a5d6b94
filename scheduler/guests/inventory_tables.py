"""The tables of an answer: users, packages and what they own, units, the system's own name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from scheduler.guests.inventory_reader import pieces
from scheduler.model import (
    RPM_KEY,
    UNIT_TYPES,
    PackageInfo,
    ServiceState,
    unit_name,
    unit_type,
)

MOST_PACKAGES = 50_000
MOST_SERVICES = 10_000
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,199}")
_VERSION = re.compile(r"[A-Za-z0-9.+~:^_-]{1,200}")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}")
_ACCOUNT = re.compile(r"[^:\x00-\x1f\x7f]{1,64}")
_SYSTEM = re.compile(r"([A-Z][A-Z0-9_]{0,31})=(?:\"([^\"]{0,200})\"|'([^']{0,200})'|(\S{0,200}))")
_CONFFILE = re.compile(r" (/.*) ([0-9a-f]{32})(?: obsolete)?")
_SUM = re.compile(rb"([0-9a-f]{32})  ([^/].*)")
_SYSTEM_KEYS = frozenset(("ID", "ID_LIKE", "NAME", "PRETTY_NAME", "VERSION_ID", "VERSION_CODENAME"))
_FIELDS = ("Package", "Status", "Architecture", "Version")
_RUNNING = frozenset(("active", "activating", "reloading"))
_ALIAS = "alias"
_ENABLED: Mapping[str, bool] = {
    "enabled": True,
    "enabled-runtime": False,  # by a generator, and gone with this boot: nobody's decision
    "disabled": False,
    "masked": False,
    "masked-runtime": False,
}


@dataclass(slots=True)
class Packages:
    """What a package manager knows: packages, what they own, what those files held at first."""

    installed: tuple[PackageInfo, ...] = ()
    owners: dict[bytes, str] = field(default_factory=dict)
    sums: dict[bytes, str] = field(default_factory=dict)
    """MD5, as dpkg keeps it."""


def accounts(text: bytes) -> Mapping[int, str]:
    """Return the names by number of `name:number` lines; the first one counts."""
    found: dict[int, str] = {}
    for line in _lines(text):
        name, _, number = line.rpartition(":")
        if number.isascii() and number.isdigit() and len(number) <= 10 and _ACCOUNT.fullmatch(name):
            found.setdefault(int(number), name)
    return found


def system(text: bytes) -> Mapping[str, str]:
    """Return what `os-release` says of the system's name and version."""
    found = (_SYSTEM.fullmatch(line) for line in _lines(text))
    return {
        match[1]: match[2] or match[3] or match[4] or ""
        for match in found
        if match and match[1] in _SYSTEM_KEYS
    }


def dpkg(status: bytes, owned: bytes, sums: bytes) -> Packages:
    """Return what dpkg knows; packages of another architecture bear it in their name."""
    found = Packages()
    installed = (one for one in _stanzas(status) if one.fields["Status"].endswith(" installed"))
    stanzas = list(islice(installed, MOST_PACKAGES))
    native = next(
        (one.fields["Architecture"] for one in stanzas if one.fields["Package"] == "dpkg"), None
    )
    packages: set[PackageInfo] = set()
    for one in stanzas:
        name, version = one.fields["Package"], one.fields["Version"]
        if not (_PACKAGE.fullmatch(name) and _VERSION.fullmatch(version)):
            continue
        architecture = one.fields["Architecture"]
        if native is not None and architecture not in (native, "all", ""):
            name = f"{name}:{architecture}"
        packages.add(PackageInfo(name=name, version=version))
        for path, md5 in one.conffiles:
            found.owners[path] = name
            found.sums[path] = md5
    for file, path in _told_by(owned, b".list:"):
        found.owners.setdefault(path, file.partition(b":")[0].decode("ascii", "replace"))
    for _, line in _told_by(sums, b".md5sums:"):
        if match := _SUM.fullmatch(line):
            found.sums.setdefault(b"/" + match[2], match[1].decode("ascii"))
    found.installed = _by_name(packages)
    return found


def rpm(text: bytes) -> Packages:
    """Return what rpm knows but for keys; it is not asked what belongs to a package."""
    packages: set[PackageInfo] = set()
    for line in islice(_lines(text), MOST_PACKAGES):
        name, _, rest = line.partition("\t")
        epoch, _, version = rest.partition("\t")
        full = version if epoch == "0" else f"{epoch}:{version}"
        if name != RPM_KEY and version and _PACKAGE.fullmatch(name) and _VERSION.fullmatch(full):
            packages.add(PackageInfo(name=name, version=full))
    return Packages(installed=_by_name(packages))


def apk(text: bytes) -> Packages:
    """Return what apk knows: a name and a version each; it is not asked what belongs to a package.

    What was added as one for its dependencies only (`.build-deps`) is a package to it, too.
    """
    packages: set[PackageInfo] = set()
    name = ""
    for line in _lines(text):
        key, _, value = line.partition(":")
        if key == "P":
            name = value
        elif key == "V" and len(packages) < MOST_PACKAGES:
            if _PACKAGE.fullmatch(name.removeprefix(".")) and _VERSION.fullmatch(value):
                packages.add(PackageInfo(name=name, version=value))
            name = ""
    return Packages(installed=_by_name(packages))


def services(files: bytes, units: bytes, instances: Iterable[str] = ()) -> tuple[ServiceState, ...]:
    """Return systemd's units by name: what is enabled, and what runs.

    Another name of a unit is no unit: it comes and goes with the link that makes it. Nor is a
    template, which can neither run nor be enabled; `instances` are those of its instances that
    links enable, of which systemctl's list of unit files says nothing. Of other types than
    services only those are told that can be enabled: mounts and targets come and go with what
    others do, and a target runs when what it wants does.
    """
    told = {name: words[0] for name, words in _units(files, 1)}
    enabled = {name: _ENABLED.get(word) for name, word in told.items() if word != _ALIAS}
    for instance in instances:
        if _UNIT.fullmatch(instance):
            enabled.setdefault(unit_name(instance), True)
    active = {
        name: words[1] in _RUNNING
        for name, words in _units(units, 2)
        if words[0] != "not-found" and told.get(name) != _ALIAS
    }
    names = (
        name
        for name in sorted({*enabled, *active})
        if unit_type(name) == "service" or enabled.get(name) is not None
    )
    return tuple(
        ServiceState(
            name=name,
            enabled=enabled.get(name),
            active=None if unit_type(name) == "target" else active.get(name, False),
        )
        for name in islice(names, MOST_SERVICES)
    )


def automatic_alternatives(text: bytes) -> frozenset[bytes]:
    """Return the names of the links that alternatives choose which nobody chose by hand.

    A file says how its alternative is chosen and where its link is, then a name and a place for
    each link that follows it, up to an empty line.
    """
    found: set[bytes] = set()
    file, number = b"", 0
    for line in pieces(text, b"\n"):
        name, _, told = line.partition(b":")
        if name != file:
            file, number = name, 0
            if told != b"auto":
                continue
            found.add(name.rpartition(b"/")[2])
            number = 1
        elif number and told:
            number += 1
            if number % 2:
                found.add(told)
        else:
            number = 0
    return frozenset(found)


def _units(text: bytes, words: int) -> Iterator[tuple[str, list[str]]]:
    for line in _lines(text):
        first, *rest = line.lstrip("●* \t").split() or [""]
        base, _, ending = first.rpartition(".")
        unit = bool(base) and ending in UNIT_TYPES and not base.endswith("@")
        if unit and len(rest) >= words and _UNIT.fullmatch(first):
            yield unit_name(first), rest


def _told_by(lines: bytes, ending: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name of the file that tells something, without its ending, and what it tells."""
    for line in pieces(lines, b"\n"):
        file, found, told = line.partition(ending)
        if found:
            yield file.rpartition(b"/")[2], told


@dataclass(slots=True)
class _Stanza:
    """What dpkg says of one package, as far as anybody asks."""

    fields: dict[str, str] = field(default_factory=lambda: dict.fromkeys(_FIELDS, ""))
    conffiles: list[tuple[bytes, str]] = field(default_factory=list)


def _stanzas(status: bytes) -> Iterator[_Stanza]:
    stanza: _Stanza | None = None
    key = ""
    for line in _lines(status):
        if not line:
            if stanza:
                yield stanza
            stanza, key = None, ""
        elif line.startswith(" "):
            if stanza and key == "Conffiles" and (match := _CONFFILE.fullmatch(line)):
                path = match[1].encode("utf-8", "surrogateescape")
                stanza.conffiles.append((path, match[2]))
        else:
            stanza = stanza or _Stanza()
            key, _, value = line.partition(":")
            if key in stanza.fields:
                stanza.fields[key] = value.strip()
    if stanza:
        yield stanza


def _by_name(packages: set[PackageInfo]) -> tuple[PackageInfo, ...]:
    return tuple(sorted(packages, key=lambda one: (one.name, one.version)))


def _lines(text: bytes) -> Iterator[str]:
    return (line.decode("utf-8", "surrogateescape") for line in pieces(text, b"\n"))
