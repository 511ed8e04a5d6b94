"""Identifiers: a prefix and a time-ordered random part.

The random part is a ULID (48 bits of milliseconds, 80 random bits) in Crockford's alphabet, so ids
never collide in practice and are safe as domain, volume and file names when lowered. Those of one
process sort by age, whatever its clock does; those of two as far as the clock went on in between.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from enum import StrEnum
from threading import Lock
from uuid import UUID, uuid5

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
"""Two digits at a time: every creation needs three ids."""

_RANDOM_BITS = 80
_STEP_BITS = 64
"""Leaves room for some hundred thousand steps within a millisecond."""


class Prefix(StrEnum):
    """What an id stands for."""

    SANDBOX = "SBX"
    SNAPSHOT = "SNP"
    COMMAND = "CMD"
    DIFF = "DIF"
    CHANGE_SET = "CHG"
    PUBLICATION = "PUB"
    PLAYBOOK = "PBK"
    TASK = "TSK"
    RUN = "RUN"
    SOURCE_VM = "SVM"
    INSPECTION = "INS"
    HOST = "HST"
    DRAIN = "DRN"
    DECISION = "DEC"
    IMAGE = "IMG"
    JOB = "JOB"
    CERTIFICATE = "CRT"
    SESSION = "SES"
    AUTHORITY = "SCA"
    REQUEST = "REQ"


class Ulids:
    """Draws ULIDs as numbers of 128 bits, each above the one before; any thread may draw.

    In a millisecond that is no later than that of the last number, the next one follows that by a
    random step: it can be guessed no better than a fresh one, and two processes that go on from
    the same number, as after a fork, do not meet. What overflows is the millisecond's.
    """

    def __init__(
        self,
        time_ns: Callable[[], int] = time.time_ns,
        randbits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._time_ns = time_ns
        self._randbits = randbits
        self._last = 0
        self._lock = Lock()

    def draw(self) -> int:
        """Return the next number."""
        with self._lock:
            milliseconds = self._time_ns() // 1_000_000
            if milliseconds > self._last >> _RANDOM_BITS:
                self._last = milliseconds << _RANDOM_BITS | self._randbits(_RANDOM_BITS)
            else:
                self._last += 1 + self._randbits(_STEP_BITS)
            return self._last


_ulids = Ulids()


def new_id(prefix: Prefix) -> str:
    """Return a fresh id such as `SBX-01JD...`, greater than all this process got before it."""
    value = _ulids.draw()
    digits = [_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)]
    return f"{prefix.value}-{''.join(digits)}"


def new_serial() -> int:
    """Return a fresh serial number for a certificate; positive, and small enough for a database."""
    return secrets.randbits(63) or 1


def new_cluster_id() -> UUID:
    """Return a fresh id for a fleet; it is drawn once and is part of every domain's UUID."""
    return UUID(bytes=secrets.token_bytes(16), version=4)


def domain_uuid(cluster_id: UUID, sandbox_id: str) -> UUID:
    """Return the one UUID a sandbox's domain may ever have, so that libvirt refuses a second."""
    return uuid5(cluster_id, sandbox_id)


def mac_address(domain: UUID) -> str:
    """Return the domain's MAC address in QEMU's own range, derived so that it never changes."""
    tail = domain.bytes[-3:]
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in tail)
