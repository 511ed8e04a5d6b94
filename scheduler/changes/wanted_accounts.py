"""Which accounts came, with their numbers, so that they are there before packages ask for some.

The files of accounts are put in place as a whole, after packages, whose scripts give the next free
number to whoever comes first: in another order, what they made would be another account's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.changes.contents import Contents
from scheduler.model import Delta, FileChange, ManifestEntry

PASSWD, GROUP = "/etc/passwd", "/etc/group"
_SHADOWS = {PASSWD: "/etc/shadow", GROUP: "/etc/gshadow"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,30}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_HOME = re.compile(r"(?:/[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}){1,12}")
_STATES = "/var/lib/"
"""Where scripts make homes together with accounts, and no manifest looks by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedGroup:
    """A group that came."""

    name: str
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedAccount:
    """An account that came."""

    name: str
    uid: int
    gid: int
    home: str

    @property
    def leaves_home(self) -> bool:
        """Return whether a script that finds the account there may not make its home."""
        return self.home.startswith(_STATES)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedAccounts:
    """What is to be made before packages come."""

    groups: tuple[WantedGroup, ...] = ()
    accounts: tuple[WantedAccount, ...] = ()


def wanted_accounts(delta: Delta, contents: Contents) -> WantedAccounts:
    """Return the accounts and groups that came, as far as both contents of their files are known.

    A tool that makes one writes its line in the shadow, too: where that did not change, somebody
    wrote the file by hand, and it is put in place as it is.
    """
    if delta.package_manager not in ("dpkg", "rpm"):
        return WantedAccounts()
    changes = {one.path: one for one in delta.files if one.package is None and one.literal}
    groups = _came(changes, GROUP, contents)
    accounts = _came(changes, PASSWD, contents)
    there = None
    if GROUP in changes:
        before = _table(changes[GROUP].before, contents) or {}
        there = {_number(one) for one in before.values()} | {_number(one) for one in groups}
    return WantedAccounts(
        groups=tuple(WantedGroup(name=one[0], gid=_number(one)) for one in groups),
        accounts=tuple(
            WantedAccount(name=one[0], uid=_number(one), gid=int(one[3]), home=one[5])
            for one in accounts
            if _is_plain(one) and (there is None or int(one[3]) in there)
        ),
    )


Line = list[str]


def _came(changes: Mapping[str, FileChange], path: str, contents: Contents) -> list[Line]:
    """Return the lines of a file whose names and numbers nobody had before, by number."""
    change = changes.get(path)
    if change is None or _SHADOWS[path] not in changes:
        return []
    before, after = (_table(one, contents) for one in (change.before, change.after))
    if before is None or after is None:
        return []
    taken = {_number(one) for one in before.values()}
    sharing = Counter(_number(one) for one in after.values())
    came = [
        one
        for name, one in after.items()
        if name not in before and _number(one) not in taken and sharing[_number(one)] == 1
    ]
    return sorted(came, key=_number)


def _table(entry: ManifestEntry | None, contents: Contents) -> Mapping[str, Line] | None:
    """Return the lines of a file by their names, None where nobody knows what it held."""
    content = None if entry is None else contents.get(entry.sha256 or "")
    if content is None:
        return None
    lines = (line.split(":") for line in content.decode("utf-8", "replace").split("\n"))
    return {
        one[0]: one
        for one in lines
        if len(one) in (4, 7) and _NAME.fullmatch(one[0]) and _NUMBER.fullmatch(one[2])
    }


def _number(line: Line) -> int:
    return int(line[2])


def _is_plain(line: Line) -> bool:
    return len(line) == 7 and bool(_NUMBER.fullmatch(line[3]) and _HOME.fullmatch(line[5]))
