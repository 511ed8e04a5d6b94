"""Identifiers: a prefix and a time-ordered random part.

The random part is a ULID (48 bits of milliseconds, 80 random bits) in Crockford's alphabet, so ids
sort by age, never collide in practice and are safe as domain, volume and file names when lowered.
"""

from __future__ import annotations

import secrets
import time
from enum import StrEnum
from uuid import UUID, uuid5

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
"""Two digits at a time: every creation needs three ids."""


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


def new_id(prefix: Prefix) -> str:
    """Return a fresh id such as `SBX-01JD...`."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
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
