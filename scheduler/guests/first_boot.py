"""How far the first boot of a guest is: cloud-init works for minutes after SSH answers.

Asked by a constant script of the files that every version of cloud-init keeps about itself: they
say the same as its own program, without an interpreter that starts each time.
"""

from __future__ import annotations

import json
from enum import StrEnum
from shlex import quote

import asyncssh

from scheduler.errors import GuestUnreachable
from scheduler.signs_of_life import within

LONGEST_SECONDS = 30.0
MOST_BYTES = 1 << 16
_READ_BYTES = 1 << 14

_SCRIPT = """
cd /run/cloud-init 2>/dev/null || { echo absent; exit; }
if [ -e result.json ]; then
    echo ended
    cat result.json
elif [ -e status.json ]; then
    echo running
else
    echo absent
fi
"""
FIRST_BOOT = f"exec sh -c {quote(_SCRIPT)}"


class FirstBoot(StrEnum):
    """What cloud-init has made of a guest."""

    ABSENT = "absent"
    """It has no part in this guest, or none in this boot."""
    RUNNING = "running"
    ENDED = "ended"
    FAILED = "failed"
    """It came to its end, and something in it failed."""


async def first_boot(connection: asyncssh.SSHClientConnection) -> FirstBoot:
    """Ask a guest how far it is; raises `GuestUnreachable` when it does not say."""
    try:
        async with within(LONGEST_SECONDS):
            return read_first_boot(await _answer(connection))
    except (asyncssh.Error, OSError) as error:
        why = "it took too long" if isinstance(error, TimeoutError) else str(error)
        raise GuestUnreachable(
            f"the guest did not say how far its first boot is: {why}",
            remedy="see whether the sandbox runs and answers SSH, then try again",
        ) from error


def read_first_boot(answer: bytes) -> FirstBoot:
    """Return what an answer to `FIRST_BOOT` says; one that makes no sense is a failure.

    Which faults there were is not repeated: they may hold words of the user data.
    """
    word, _, result = answer.partition(b"\n")
    if word == b"ended":
        return FirstBoot.ENDED if _is_well(result) else FirstBoot.FAILED
    return {b"running": FirstBoot.RUNNING, b"absent": FirstBoot.ABSENT}.get(word, FirstBoot.FAILED)


def _is_well(result: bytes) -> bool:
    try:
        document = json.loads(result)
    except (ValueError, RecursionError):
        return False
    told = document.get("v1") if isinstance(document, dict) else None
    return isinstance(told, dict) and told.get("errors") == []


async def _answer(connection: asyncssh.SSHClientConnection) -> bytes:
    received = bytearray()
    process = await connection.create_process(
        FIRST_BOOT, stdin=asyncssh.DEVNULL, stderr=asyncssh.DEVNULL, encoding=None
    )
    try:
        while len(received) <= MOST_BYTES and (block := await process.stdout.read(_READ_BYTES)):
            received += block
    finally:
        process.close()
    return bytes(received)
