"""console: what a sandbox's guest printed while it booted, and what it prints as it does."""

from __future__ import annotations

import re
import sys
import time
from base64 import b64decode
from codecs import getincrementaldecoder
from collections.abc import Callable
from typing import Any

import click

from scheduler.cli.deadlines import Deadline
from scheduler.cli.escaping import printable_lines
from scheduler.cli.failures import Failure, Refused
from scheduler.cli.moments import moment
from scheduler.cli.options import sandbox_argument
from scheduler.cli.outputs import write_raw
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb

Document = dict[str, Any]
Tell = Callable[[Document], None]

_LOOK_SECONDS = 1.0
_PATIENCE_SECONDS = 30.0
"""How long a daemon that is away is waited for, and one that has yet to say that a boot is over."""
_COMING_UP = frozenset({"CREATED", "STARTING"})
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_UNFINISHED = re.compile(r"\r?(?:\x1b\[[0-9;]{0,32}m){0,8}(?:\x1b(?:\[[0-9;]{0,32})?)?\Z")
"""What the next piece may make a line's end or a colour of; bounded, as a guest writes it."""
_Decoder = getincrementaldecoder("utf-8")


@click.command(cls=Verb)
@sandbox_argument()
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with what it prints until its boot is over."
)
def console(session: Session, *, reference: str, follow: bool) -> None:
    """Write what the guest of SANDBOX printed during its latest boot.

    By its id also once it is destroyed. To a terminal every control character is shown as an
    escape, but for colours, which are left out; to a file or a pipe the bytes are as they were.
    """
    sandbox = f"/v1/sandboxes/{find_sandbox(session.client, reference)['id']}"
    told = _Told(session)
    tell: Tell = (lambda _document: None) if session.printer.structured else told.tell
    try:
        if follow:
            document = _Following(session, sandbox, tell).to_the_end()
        else:
            document = dict(session.client.get(f"{sandbox}/console"))
        tell(document)
    finally:
        told.finish()
    if session.printer.structured:
        session.printer.document(document)
        return
    told.conclude(document)


class _Following:
    """Reads a console again and again until its boot is over."""

    def __init__(self, session: Session, sandbox: str, tell: Tell) -> None:
        self._session = session
        self._sandbox = sandbox
        self._tell = tell
        self._patience: Deadline | None = None

    def to_the_end(self) -> Document:
        """Return the console once the boot is over; what it prints by then is told."""
        while True:
            try:
                document = self._look()
            except Failure as failure:
                if not failure.passing or self._is_late():
                    raise
            else:
                if document is not None:
                    return document
            time.sleep(_LOOK_SECONDS)

    def _look(self) -> Document | None:
        """Return the console if there is nothing more to come."""
        client = self._session.client
        box = client.get(self._sandbox)
        comes_up = box["state"] in _COMING_UP and box["desired_state"] == "RUNNING"
        try:
            document = dict(client.get(f"{self._sandbox}/console"))
        except Refused as refusal:
            if refusal.status != 404 or not comes_up:
                raise
            return None
        asked_at = moment(box["queued_at"] or box["created_at"])
        if comes_up and moment(document["boot_at"]) != asked_at:
            return None  # it is of an earlier boot
        self._tell(document)
        if comes_up:
            self._patience = None
            return None
        return document if document["ended_at"] or self._is_late() else None

    def _is_late(self) -> bool:
        self._patience = self._patience or Deadline(_PATIENCE_SECONDS)
        return self._patience.passed


class _Told:
    """Writes what is new of a console, and tells beside it where something is missing."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._boot: object = None
        self._seen = 0
        self._gaps: set[tuple[int, str]] = set()
        self._cut = False
        """The last line that was written is not at its end."""
        self._decoder = _Decoder(errors="replace")
        self._held = ""
        """Not shown yet: a piece may end within a character, a colour or a line's end."""

    def tell(self, document: Document) -> None:
        """Write what was not written before."""
        if document["boot_at"] != self._boot:
            self.finish()
            self._boot, self._seen = document["boot_at"], 0
            self._gaps.clear()
        first, data = int(document["dropped_bytes"]), b64decode(document["data"])
        if self._seen < first:
            self._note(f"{first - self._seen} bytes before this are not kept")
            self._seen = first
        for gap in document["gaps"]:
            offset, key = int(gap["offset"]), (int(gap["offset"]), str(gap["at"]))
            if offset >= first and key not in self._gaps:
                self._gaps.add(key)
                self._write(data[self._seen - first : max(offset, self._seen) - first])
                self._note(f"something may be missing here: {gap['why']}")
        self._write(data[self._seen - first :])

    def finish(self) -> None:
        """Show what was held back for what came next: nothing that belongs to it does."""
        self._show(self._held + self._decoder.decode(b"", final=True))
        self._held = ""

    def conclude(self, document: Document) -> None:
        """Say why there is no more, where that is not plain."""
        if document["reason"]:
            self._note(f"nobody listens: {document['reason']}")
        if document["ended_at"] is None:
            self._note("its boot is not over; go on with --follow")

    def _write(self, data: bytes) -> None:
        if not data:
            return
        self._seen += len(data)
        self._cut = not data.endswith(b"\n")
        if not sys.stdout.isatty():
            write_raw("stdout", data)
            return
        text = self._held + self._decoder.decode(data)
        unfinished = _UNFINISHED.search(text)
        whole = len(text) if unfinished is None else unfinished.start()
        self._held = text[whole:]
        self._show(text[:whole])

    def _show(self, text: str) -> None:
        if text:
            plain = _COLOURS.sub("", text).replace("\r\n", "\n")
            sys.stdout.write("\t".join(printable_lines(part) for part in plain.split("\t")))
            sys.stdout.flush()

    def _note(self, text: str) -> None:
        self.finish()
        if self._cut and sys.stdout.isatty():
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._cut = False
        self._session.narrator.note(text)
