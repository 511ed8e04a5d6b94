"""exec --tty end to end: a terminal of ours, the command line on it, the loop, and real shells."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.terminals import keys
from scheduler.errors import GuestUnreachable, GuestUntrusted
from tests.cli.running import PROGRAM, Sandboxctl, environment
from tests.guests.house import GuestHouse
from tests.terminals import resize, seated
from tests.waits import until

TOKEN = f"ghp_{'a1B2' * 9}"
RED = "\x1b[31m"


class Seat:
    """A terminal with `sandboxctl` on it, and somebody who reads and types."""

    def __init__(self, ours: int, its: int, process: subprocess.Popen[bytes]) -> None:
        self.ours = ours
        self.its = its
        self.process = process
        self._shown = b""

    def modes(self) -> list[Any]:
        """Return how the terminal is set."""
        return termios.tcgetattr(self.its)

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        resize(self.ours, columns=columns, rows=rows)

    async def sees(self, text: str) -> str:
        """Wait until a text is shown; return all up to it, which is not seen again."""
        await until(lambda: text.encode() in self._read(), what=text)
        seen, _, self._shown = self._shown.partition(text.encode())
        return seen.decode()

    async def ended(self) -> int:
        """Read on until the process has ended; return its exit code."""
        await until(
            lambda: self._read() is not None and self.process.poll() is not None, what="its end"
        )
        self._read()
        return int(self.process.returncode)

    @property
    def rest(self) -> str:
        return self._shown.decode()

    def _read(self) -> bytes:
        with suppress(BlockingIOError):
            self._shown += os.read(self.ours, 65536)
        return self._shown


@contextmanager
def seat(socket: Path, *arguments: str) -> Iterator[Seat]:
    """Run `sandboxctl` on a terminal of 100 by 40; it does not outlive the block."""
    ours, its = pty.openpty()
    try:
        os.set_blocking(ours, False)
        resize(ours, columns=100, rows=40)
        around = environment(socket, TERM="xterm-256color")
        with seated(its, [*PROGRAM, *arguments], around) as process:
            yield Seat(ours, its, process)
    finally:
        os.close(ours)
        os.close(its)


async def newest(sandboxctl: Sandboxctl) -> dict[str, Any]:
    listed = await sandboxctl.run("command", "list", "box", "-o", "json")
    shown = await sandboxctl.run("command", "show", listed.document[0]["id"], "-o", "json")
    found: dict[str, Any] = json.loads(shown.out)
    return found


async def test_a_program_in_the_guest_has_our_terminal_and_we_have_it_back(
    house: GuestHouse, sandboxctl: Sandboxctl
) -> None:
    line = f'tty; stty size; echo "$TERM"; read x; printf "{RED}<%s>\\n" "$x"; exit 7'
    with seat(sandboxctl.socket, "exec", "-it", "box", "sh", "-c", line) as there:
        before = there.modes()
        assert "/dev/pts/" in await there.sees("40 100\r\n")
        await there.sees("xterm-256color\r\n")
        assert not there.modes()[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
        there.type(f"{TOKEN}\r")
        # It is echoed there, comes back as it is, and steers what it is shown on.
        await there.sees(f"{TOKEN}\r\n{RED}<{TOKEN}>\r\n")
        assert (await there.ended(), there.rest) == (7, "")
        assert there.modes() == before
    record = await newest(sandboxctl)
    assert (record["status"], record["metadata"]["terminal"]) == ("EXITED", True)
    assert TOKEN not in json.dumps(record)
    assert "<[redacted:token]" in record["stdout"]


async def test_what_is_typed_reaches_the_program_and_so_does_the_windows_size(
    house: GuestHouse, sandboxctl: Sandboxctl
) -> None:
    line = 'trap "echo caught; exit 3" INT; echo ready; while read x; do stty size; done'
    with seat(sandboxctl.socket, "exec", "--tty", "box", "sh", "-c", line) as there:
        await there.sees("ready\r\n")
        there.resize(111, 31)
        told = ""
        while "31 111" not in told:
            there.type("\r")
            told = await there.sees("\r\n")
        there.type("\x03")
        await there.sees("caught\r\n")
        assert await there.ended() == 3


async def test_a_tilde_and_a_dot_after_enter_close_it_and_end_the_program(
    house: GuestHouse, sandboxctl: Sandboxctl
) -> None:
    with seat(sandboxctl.socket, "exec", "-t", "box", "cat") as there:
        before = there.modes()
        there.type("a~.\r")
        await there.sees("a~.\r\na~.\r\n")
        there.type("~.")
        assert await there.ended() == 125
        assert "its terminal was closed; nothing of it runs any more" in there.rest
        assert there.modes() == before


async def test_whoever_is_ended_gives_the_terminal_back(
    house: GuestHouse, sandboxctl: Sandboxctl
) -> None:
    with seat(sandboxctl.socket, "exec", "-t", "box", "sh", "-c", "echo up; cat") as there:
        before = there.modes()
        await there.sees("up\r\n")
        there.process.send_signal(signal.SIGTERM)
        assert await there.ended() == 128 + signal.SIGTERM
        assert there.modes() == before
    command = str((await newest(sandboxctl))["id"])
    ended = await sandboxctl.run("command", "output", command)
    assert (ended.code, "its terminal was closed" in ended.err) == (125, True)


async def test_ctrl_c_while_the_guest_is_looked_for_ends_the_command(
    house: GuestHouse, sandboxctl: Sandboxctl
) -> None:
    house.closed_by = GuestUnreachable("it does not answer", remedy="wait")
    with seat(sandboxctl.socket, "exec", "-t", "box", "cat") as there:
        await until(lambda: house.asked > 0)
        # The terminal is still ours, so this is a signal to us.
        there.type("\x03")
        assert await there.ended() == 130
        assert "you interrupted it" in there.rest
    ended = await sandboxctl.run("command", "output", str((await newest(sandboxctl))["id"]))
    assert ended.code == 137


async def test_a_guest_that_is_not_reached_is_told_of_and_costs_no_terminal(
    house: GuestHouse, sandboxctl: Sandboxctl
) -> None:
    house.closed_by = GuestUntrusted("it did not prove to be it", remedy="look")
    with seat(sandboxctl.socket, "exec", "-t", "box", "cat") as there:
        before = there.modes()
        assert await there.ended() == 125
        assert "nothing was run: it did not prove to be it" in there.rest
        assert there.modes() == before


async def test_without_a_terminal_it_is_refused_before_anything_is_asked(
    house: GuestHouse, sandboxctl: Sandboxctl
) -> None:
    piped = await sandboxctl.run("exec", "--tty", "box", "cat")
    assert (piped.code, "standard input and output is none" in piped.err) == (2, True)
    for words, fault in (
        (("--script", "/dev/null"), "--script want the same"),
        (("--no-wait",), "--no-wait has us leave"),
        (("-o", "json"), "want the same standard output"),
    ):
        with seat(sandboxctl.socket, "exec", "-t", *words, "box", "cat") as there:
            assert await there.ended() == 2
            assert fault in " ".join(there.rest.split())
    assert house.asked == 0


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ([b"a~.b"], b"a~.b"),
        ([b"~.", b"never"], b""),
        ([b"ls\r~.", b"never"], b"ls\r"),
        ([b"\r", b"~", b"."], b"\r"),
        ([b"~~.\r"], b"~.\r"),
        ([b"\n~x~."], b"\n~x~."),
        ([b"~\r~."], b"~\r"),
    ],
)
def test_only_after_enter_a_tilde_and_a_dot_mean_the_end(typed: list[bytes], sent: bytes) -> None:
    source, sink = os.pipe()
    parts = keys(source)
    told = b""
    for block in typed:
        os.write(sink, block)
        told += next(parts, b"") if block != b"~" else b""
    os.close(sink)
    assert told + b"".join(parts) == sent
    os.close(source)


async def test_a_process_that_hangs_up_its_terminal_types_no_more() -> None:
    ours, its = await asyncio.to_thread(pty.openpty)
    os.close(ours)
    assert list(keys(its)) == []
    os.close(its)
