"""Our terminal, lent to a command in a guest: raw as long as that lasts, and given back after it.

What the guest writes then steers our terminal, as with ssh: that is what is asked for by --tty.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

import click

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.outputs import exit_code_of, follow_output
from scheduler.cli.paths import segment
from scheduler.cli.session import Session

Document = dict[str, Any]

PART_BYTES = 64 * 1024
_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,63}")
_TILDE, _DOT = b"~."
_LINE_ENDS = b"\r\n"
_ENDING = (signal.SIGTERM, signal.SIGHUP)


def check_terminal(session: Session) -> None:
    """Raise `click.UsageError` unless there is a terminal to be lent."""
    missing = [
        name
        for name, stream in (("input", sys.stdin), ("output", sys.stdout))
        if not stream.isatty()
    ]
    if missing:
        raise click.UsageError(
            f"--tty lends our terminal, and standard {' and '.join(missing)} is none; leave it"
            " out, with -i for input from a file or a pipe"
        )
    if session.printer.structured:
        raise click.UsageError("--tty and -o json or yaml want the same standard output")


def run_on_terminal(session: Session, path: str, body: Document) -> int:
    """Run a command with our terminal for its own; return the exit code that its end means."""
    from scheduler.cli.tunnels import carry, open_tunnel

    asked = {**_window(), "type": _kind()}
    command = dict(session.client.post(path, {**body, "terminal": asked}))
    of_command = f"/v1/commands/{segment(command['id'])}"
    try:
        # Why a terminal is refused, the command's end tells.
        with suppress(Failure):
            connection = open_tunnel(session.socket_path, f"{of_command}/terminal")
            with _raw(sys.stdin.fileno()), _followed(session, f"{of_command}/window", asked):
                carry(connection, keys(sys.stdin.fileno()), sys.stdout.fileno())
    except KeyboardInterrupt:
        session.client.post(f"{of_command}/kill")
        session.narrator.note(f"command {command['id']} is ended: you interrupted it")
        return Exit.INTERRUPTED
    ended = follow_output(session, command["id"], lambda *_: None)
    # All of it was shown, whatever is kept.
    return exit_code_of(session, {**ended, "truncated": False})


def keys(source: int) -> Iterator[bytes]:
    """Yield what is typed, up to `~.` at the beginning of a line; `~~` is one `~` there."""
    at_start, tilde, closed = True, False, False
    while not closed and (data := _typed(source)):
        sent = bytearray()
        for byte in data:
            if closed := tilde and byte == _DOT:
                break
            if tilde and byte != _TILDE:
                sent.append(_TILDE)
            tilde = at_start and not tilde and byte == _TILDE
            if not tilde:
                sent.append(byte)
            at_start = byte in _LINE_ENDS
        if sent:
            yield bytes(sent)


def _typed(source: int) -> bytes:
    try:
        return os.read(source, PART_BYTES)
    except OSError:  # the terminal was hung up
        return b""


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Have the terminal raw within the block, and as it was after it, also when we are ended."""
    before = termios.tcgetattr(terminal)
    handlers = {number: signal.signal(number, _end) for number in _ENDING}
    try:
        tty.setraw(terminal, termios.TCSADRAIN)
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


@contextmanager
def _followed(session: Session, path: str, told: Document) -> Iterator[None]:
    """Tell the command whenever our window has another size, within the block."""
    changed = threading.Event()
    size = {name: told[name] for name in ("columns", "rows")}

    def tell() -> None:
        last = size
        while True:
            now = _window()
            if now != last:
                last = now
                with suppress(Failure):
                    session.client.request("PUT", path, body=now)
            changed.wait()
            changed.clear()

    before = signal.signal(signal.SIGWINCH, lambda *_: changed.set())
    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _window() -> dict[str, int]:
    """Return our terminal's size; one that does not know its own is taken for 80 by 24."""
    with suppress(OSError):
        size = os.get_terminal_size(sys.stdout.fileno())
        if size.columns and size.lines:
            return {"columns": size.columns, "rows": size.lines}
    return {"columns": 80, "rows": 24}


def _kind() -> str:
    kind = os.environ.get("TERM", "")
    return kind if _KIND.fullmatch(kind) else "xterm"
