"""Terminals of the tests' own: their size, and programs that have one as theirs."""

from __future__ import annotations

import fcntl
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager


def resize(terminal: int, *, columns: int, rows: int) -> None:
    """Have another size, as when a window is drawn larger: the kernel tells the program."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def take_terminal() -> None:
    """Make standard input the terminal of a new session, so that Ctrl-C on it is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def seated(
    terminal: int, argv: Sequence[str], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of its own on a terminal; it does not outlive the block."""
    with subprocess.Popen(
        argv,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment,
        start_new_session=True,
        preexec_fn=take_terminal,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
