"""A command's output as it comes from the daemon, and what its end means for us."""

from __future__ import annotations

import codecs
import sys
import time
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from scheduler.cli.escaping import printable_lines
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure, Refused
from scheduler.cli.paths import segment
from scheduler.cli.session import Session

Document = dict[str, Any]
Write = Callable[[str, bytes], None]
"""Takes the name of a stream and a piece of it."""

_IDLE_SECONDS = 60.0
_PATIENCE_SECONDS = 30.0
_PAUSE_SECONDS = 0.25
_SIGNALLED_KILL = 137


def follow_output(session: Session, command_id: str, write: Write) -> Document:
    """Write a command's output as it comes and return the command once it has ended.

    A daemon that restarts meanwhile is waited for: it knows how the command ended.
    """
    stream = session.client.stream(
        f"/v1/commands/{segment(command_id)}/output", idle_seconds=_IDLE_SECONDS
    )
    patient_until = None
    while True:
        try:
            for document in stream:
                patient_until = None
                if document is not None and "status" in document:
                    return document
                if document is not None:
                    write(str(document["stream"]), b64decode(document["data"]))
        except Failure as failure:
            if isinstance(failure, Refused) and failure.status < 500:
                raise
            stream.close()
            patient_until = patient_until or time.monotonic() + _PATIENCE_SECONDS
            if time.monotonic() > patient_until:
                raise
            time.sleep(_PAUSE_SECONDS)


def write_raw(stream: str, data: bytes) -> None:
    """Write to our own standard output or error as the guest did, byte for byte."""
    out = sys.stdout.buffer if stream == "stdout" else sys.stderr.buffer
    out.write(data)
    out.flush()


class Shown:
    """Writes what a guest says: raw to a file or a pipe, harmless to a terminal."""

    def __init__(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: decoder("replace") for name in ("stdout", "stderr")}

    def __call__(self, stream: str, data: bytes) -> None:
        """Write a piece; a character that it cuts in two is written with the next one."""
        out = sys.stdout if stream == "stdout" else sys.stderr
        if not out.isatty():
            write_raw(stream, data)
            return
        text = self._decoders[stream].decode(data)
        out.write("\t".join(printable_lines(part) for part in text.split("\t")))
        out.flush()


def exit_code_of(session: Session, command: Document) -> int:
    """Return the exit code that a command's end means, telling what its output cannot."""
    if command["truncated"]:
        session.narrator.note(
            f"output was cut: the command wrote {command['stdout_bytes']} bytes to stdout and"
            f" {command['stderr_bytes']} to stderr"
        )
    if command["kill_unconfirmed"]:
        session.narrator.note("nothing proves that none of it runs in the guest any more")
    status = command["status"]
    if status == "EXITED":
        return int(command["exit_code"])
    if status == "TIMED_OUT":
        limit = (command["metadata"] or {}).get("timeout")
        session.narrator.note(f"ended at its time limit of {limit:g} s")
        return Exit.TIMED_OUT
    if status == "KILLED":
        session.narrator.note("ended, as somebody asked for")
        return _SIGNALLED_KILL
    raise Failure(
        f"command {command['id']} was interrupted: {command['reason']}",
        exit_code=Exit.OWN_FAILURE,
        hint="it is never run again by itself; look into the guest before you repeat it",
        document=command if session.printer.structured else None,
    )
