"""What a guest says of file capabilities and access lists, by the names of its files.

Neither is seen in owner and mode, and both let somebody in: only files that have any are told.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

from scheduler.guests.inventory_reader import pieces

LONGEST = 4096
"""How long one file's may be; a longer one is cut, and still differs from others."""
_CLAUSE = rb"(?:[a-z0-9_,]*[=+-][eip]*)"
_CAPABILITIES = re.compile(
    rb"(/.*?)(?: =)? (%b(?: %b)*(?: \[rootid=\d+\])?)" % (_CLAUSE, _CLAUSE), re.DOTALL
)
_FILE = b"# file: "
_ENTRY = re.compile(rb"(?:default:)?(?:user|group|mask|other):\d{0,10}:[r-][w-][x-]")
_ESCAPED = re.compile(rb"\\(\\|[0-3][0-7]{2})")


def capabilities(text: bytes, names: Container[bytes]) -> Mapping[bytes, str]:
    """Return what `getcap` says of these files, a single clause as newer versions write it."""
    found: dict[bytes, str] = {}
    for line in pieces(text, b"\n"):
        match = _CAPABILITIES.fullmatch(line[: LONGEST * 2])
        if match and match[1] in names:
            told = match[2].decode("ascii")
            found[match[1]] = told if " " in told else told.replace("+", "=")
    return found


def access_lists(text: bytes, names: Container[bytes]) -> Mapping[bytes, str]:
    """Return what `getfacl` says of these files and directories, by numbers."""
    found: dict[bytes, list[bytes]] = {}
    entries: list[bytes] = []
    for line in pieces(text, b"\n"):
        if line.startswith(_FILE):
            name = _ESCAPED.sub(_byte, line.removeprefix(_FILE))
            entries = found.setdefault(name, []) if name in names else []
        elif _ENTRY.fullmatch(line):
            entries.append(line)
    return {name: b",".join(told).decode("ascii")[:LONGEST] for name, told in found.items() if told}


def _byte(match: re.Match[bytes]) -> bytes:
    return match[1] if match[1] == b"\\" else bytes([int(match[1], 8)])
