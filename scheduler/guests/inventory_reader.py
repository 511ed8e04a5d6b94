"""A guest's answers, read as strictly as one reads a stranger's: records, digests, archives.

Whatever a guest says, reading takes time and memory in proportion to what was received, and ends
in values that were asked for: entries below the roots, digests of files that were named.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice

_STAT = re.compile(rb"([0-9a-f]{1,8}) (\d{1,18}) (\d{1,10}) (\d{1,10}) (\d{1,20})")
_DIGEST = re.compile(rb"([0-9a-f]{32,64})(?:  |  ?\*?)(/.*)")
_DEVICE = re.compile(rb"\d{0,20}")
_COUNT = re.compile(rb"C(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Stat:
    """What `stat` says of one path; `mode` with the kind of file in it."""

    mode: int
    size: int
    uid: int
    gid: int
    device: int


@dataclass(slots=True)
class Listing:
    """What was understood of an answer."""

    stats: dict[bytes, Stat] = field(default_factory=dict)
    targets: dict[bytes, bytes] = field(default_factory=dict)
    sections: dict[str, bytes] = field(default_factory=dict)
    untold: set[str] = field(default_factory=set)
    """Sections that the guest began to tell, and could not; what it said of them is dropped."""
    done: set[bytes] = field(default_factory=set)
    """Roots of which everything was listed."""
    linked: dict[bytes, int | None] = field(default_factory=dict)
    """Roots that are links, and the device of what they lead to; None where that is nothing."""
    failed: set[bytes] = field(default_factory=set)
    """Roots of which `find` could not see all."""
    whole: bool = False
    """Whether the answer came to its end."""
    full: bool = False
    """Whether there were more entries than were taken."""


def read_listing(answer: bytes, roots: Collection[bytes], most_entries: int) -> Listing:
    """Return what an answer to `LISTING` says, up to where it makes no sense any more."""
    listing = Listing()
    # What ends without NUL was cut off.
    records = pieces(answer, b"\0", rest=False)
    reader = _Reader(records, frozenset(roots), most_entries, listing)
    for record in records:
        if not reader.take(record):
            break
    listing.sections = {key: bytes(text) for key, text in reader.sections.items()}
    return listing


def pieces(text: bytes, mark: bytes, *, rest: bool = True) -> Iterator[bytes]:
    """Yield what stands between marks, one piece at a time; `rest` is what no mark ends.

    A guest can send a million times nothing: a list of that is many times what was received.
    """
    begin = 0
    while (end := text.find(mark, begin)) >= 0:
        yield text[begin:end]
        begin = end + len(mark)
    if rest:
        yield text[begin:]


class _Reader:
    """Takes one record after another; the first that makes no sense ends it."""

    def __init__(
        self, records: Iterator[bytes], roots: frozenset[bytes], most_entries: int, listing: Listing
    ) -> None:
        self.sections: dict[str, bytearray] = {}
        self._records = records
        self._roots = roots
        self._most = most_entries
        self._listing = listing
        self._root = b""

    def take(self, record: bytes) -> bool:
        """Understand one record with what belongs to it; return whether to go on."""
        kind, rest = record[:1], record[1:]
        if kind == b"C":
            return self._chunk(record)
        if kind == b"L":
            return self._link(rest)
        if kind == b"S":
            return self._section(rest)
        if kind == b"F":
            return self._withdraw(rest)
        if kind == b"R":
            self._root = rest
            return rest in self._roots
        if kind == b"T":
            return self._lead(rest)
        if kind in (b"D", b"E"):
            (self._listing.done if kind == b"D" else self._listing.failed).add(rest)
            return rest == self._root
        self._listing.whole = record == b"Z"
        return False

    def _chunk(self, record: bytes) -> bool:
        counted = _COUNT.fullmatch(record)
        if counted is None:
            return False
        names: list[bytes] = []
        count = int(counted[1])
        for name in islice(self._records, count):
            if not self._below(name):
                return False
            # One more than are taken tells that there are more; the others are only counted.
            if len(names) <= self._most:
                names.append(name)
        lines = next(self._records, b"").rstrip(b"\n")
        if lines.count(b"\n") + 1 != count:
            return False
        stats = self._listing.stats
        for name, line in zip(names, pieces(lines, b"\n"), strict=False):
            found = _STAT.fullmatch(line)
            if found is None:
                if line != b"-":
                    return False
                continue
            if len(stats) >= self._most:
                self._listing.full = True
                return False
            mode, size, uid, gid, device = found.groups()
            stats[name] = Stat(int(mode, 16), int(size), int(uid), int(gid), int(device))
        self._listing.full = len(names) < count
        return not self._listing.full

    def _link(self, name: bytes) -> bool:
        target = next(self._records, None)
        if target is None or name not in self._listing.stats:
            return target is not None
        self._listing.targets[name] = target
        return True

    def _lead(self, device: bytes) -> bool:
        if self._root not in self._roots or not _DEVICE.fullmatch(device):
            return False
        self._listing.linked[self._root] = int(device) if device else None
        return True

    def _section(self, name: bytes) -> bool:
        text = next(self._records, None)
        key = name.decode("ascii", "replace")
        if text is None or key not in SECTIONS:
            return False
        self.sections.setdefault(key, bytearray()).extend(text)
        return True

    def _withdraw(self, name: bytes) -> bool:
        key = name.decode("ascii", "replace")
        if self.sections.pop(key, None) is None:
            return False
        self._listing.untold.add(key)
        return True

    def _below(self, name: bytes) -> bool:
        return name == self._root or name.startswith(self._root.rstrip(b"/") + b"/")


SECTIONS = frozenset(
    (
        *("passwd", "group", "system", "dpkg", "rpm", "apk", "owned", "sums"),
        *("alternatives", "files", "units", "capabilities", "acl"),
    )
)


def read_digests(answer: bytes, asked: Collection[bytes], length: int) -> Mapping[bytes, str]:
    """Return the digests, `length` hex digits each, of the files that were asked for."""
    asked = frozenset(asked)
    found: dict[bytes, str] = {}
    for line in pieces(answer, b"\n"):
        match = _DIGEST.fullmatch(line)
        if match and match[2] in asked and len(match[1]) == length:
            found[match[2]] = match[1].decode("ascii")
    return found


def read_odd_digests(answer: bytes, asked: Collection[bytes]) -> Mapping[bytes, str]:
    """Return the digests of files whose names no line could hold."""
    asked = frozenset(asked)
    records = pieces(answer, b"\0")
    found: dict[bytes, str] = {}
    for name, text in zip(records, records, strict=False):
        match = re.fullmatch(rb"([0-9a-f]{64})  ?-?\n?", text)
        if match and name in asked:
            found[name] = match[1].decode("ascii")
    return found


def read_contents(archive: bytes, wanted: Collection[str]) -> dict[str, bytes]:
    """Return the files of an archive by their digest, as far as they were asked for."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:", ignore_zeros=True) as files:
            for member in files:
                if not member.isreg() or member.size > len(archive):
                    continue
                content = files.extractfile(member)
                if content is None:
                    continue
                held = content.read()
                digest = sha256(held).hexdigest()
                if digest in wanted:
                    found[digest] = held
    except (tarfile.TarError, ValueError, EOFError, ArithmeticError, RecursionError):
        # A header that only names the next one is read within the reading of that one.
        # What came before the damage is what its digest says it is.
        return found
    return found


def shown(raw: bytes) -> tuple[str, bool]:
    """Return a name as text, and whether the text is the name itself.

    In one that is no UTF-8 such bytes stand as `\\xNN`, and so do backslashes, lest two names
    become one.
    """
    try:
        return raw.decode("utf-8"), True
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "surrogateescape").replace("\\", "\\x5c")
        return "".join(map(_escaped, text)), False


def _escaped(letter: str) -> str:
    return f"\\x{ord(letter) - 0xDC00:02x}" if "\udc80" <= letter <= "\udcff" else letter


def odd(name: bytes) -> bool:
    """Return whether `sha256sum` would write this name otherwise than it is."""
    return any(mark in name for mark in (b"\n", b"\r", b"\\"))


def batches(names: Sequence[tuple[bytes, int]], most_bytes: int) -> Iterator[list[bytes]]:
    """Yield the names in turn, in lots whose files hold at most so many bytes, or one file."""
    lot: list[bytes] = []
    held = 0
    for name, size in names:
        if lot and held + size > most_bytes:
            yield lot
            lot, held = [], 0
        lot.append(name)
        held += size
    if lot:
        yield lot
