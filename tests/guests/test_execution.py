"""Commands on real sshd: what goes in, what comes out, how they end, on Debian and on busybox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncssh
import pytest

from scheduler.errors import GuestUnreachable
from scheduler.guests.endings import end_processes
from scheduler.guests.execution import Ended, Order, execute, run
from scheduler.guests.inflows import Inflow
from scheduler.guests.outputs import Stream
from scheduler.guests.terminals import Terminal, Window
from scheduler.guests.wrapper import Invocation
from scheduler.ids import Prefix, new_id
from scheduler.model.commands import CommandStatus
from scheduler.signs_of_life import watched
from tests.jumps import put_on
from tests.watchers import Notes

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]

MIB = 1 << 20
EVERY_BYTE = bytes(range(256)) * 256
# It leaves its parent, its session and its process group, holds its output open and ignores TERM.
STUBBORN = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo up; sleep 1000; sleep 1000' &); {}"
LIMIT_SECONDS = 3600.0
"""Put on once the program is up: how long an emulated guest takes for that is nobody's promise."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bear with each look at a guest's processes, which costs it seconds on a busy machine."""
    monkeypatch.setattr("scheduler.guests.endings.END_SECONDS", 240.0)


class Watch:
    """A command at work, and what it has written so far."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, *argv: str, seconds: float = 600
    ) -> None:
        self.id = new_id(Prefix.COMMAND)
        self.stop = asyncio.Event()
        self.output = dict.fromkeys(Stream, b"")
        self._written = asyncio.Event()
        order = Order(id=self.id, invocation=Invocation(argv=argv), timeout_seconds=seconds)
        self._task = asyncio.ensure_future(execute(connection, order, self._take, stop=self.stop))

    async def ended(self) -> Ended:
        return await self._task

    async def has_written(self) -> None:
        await self._written.wait()

    async def let_go(self) -> None:
        """Stop waiting for it, as a daemon does that ends."""
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task

    def _take(self, stream: Stream, data: bytes) -> None:
        self.output[stream] += data
        self._written.set()


async def marked(connection: asyncssh.SSHClientConnection, command_id: str) -> int:
    """Return how many processes of a command there are, asked in another way than ours."""
    found = await connection.run(
        "for e in /proc/[0-9]*/environ; do tr '\\0' '\\n' <$e 2>/dev/null; done"
        f" | grep -c '^SANDBOXD_COMMAND={command_id}$'"
    )
    return int(str(found.stdout))


async def test_bytes_go_in_and_come_out_as_they_are(
    connection: asyncssh.SSHClientConnection,
) -> None:
    result = await run(connection, ["cat"], stdin=EVERY_BYTE)
    assert result.ok
    assert result.stdout == EVERY_BYTE
    assert (result.stdout_bytes, result.truncated) == (len(EVERY_BYTE), False)


async def test_a_command_says_how_long_it_may_take(
    connection: asyncssh.SSHClientConnection,
) -> None:
    notes = Notes()
    with watched(notes):
        await run(connection, ["true"], timeout_seconds=4000)
    assert 4000 in notes.ended


async def test_how_a_program_is_started_and_how_it_ends(
    connection: asyncssh.SSHClientConnection,
) -> None:
    tell = 'pwd; id -un; printf "%s|" "$GIVEN" "$@"; echo wrong >&2; exit 7'
    result = await run(
        connection,
        ["/bin/sh", "-c", tell, "sh", "$(id)", "two\nlines\n"],
        env={"GIVEN": "a 'b' \x1b[31m"},
        work_dir="/tmp",
    )
    assert result.stdout == b"/tmp\nroot\na 'b' \x1b[31m|$(id)|two\nlines\n|"
    assert result.stderr.endswith(b"wrong\n")
    assert result.ended == Ended(status=CommandStatus.EXITED, exit_code=7)

    script = await run(connection, ["/bin/sh", "-s"], stdin=b'x=`pwd`\necho "<$x>"\nkill -9 $$\n')
    assert script.ended == Ended(status=CommandStatus.EXITED, exit_code=137)

    other = await run(
        connection,
        ["/bin/sh", "-c", 'id -un; pwd; printf %s "$A$1"', "sh", "'\n'"],
        env={"A": "é"},
        user="nobody",
        work_dir="/proc",
    )
    assert other.stdout.decode() == "nobody\n/proc\né'\n'", other

    missing = await run(connection, ["/no/such/program"])
    nowhere = await run(connection, ["true"], work_dir="/no/such/directory")
    assert (missing.ended.exit_code, nowhere.ended.exit_code) == (127, 125)
    assert b"/no/such/directory" in nowhere.stderr


async def test_i8_a_flood_is_counted_to_the_last_byte_and_kept_to_the_limit(
    host_connection: asyncssh.SSHClientConnection,
) -> None:
    quiet = await run(host_connection, ["true"])
    flood = "head -c 3000000 /dev/zero; head -c 1500000 /dev/zero >&2"
    result = await run(host_connection, ["/bin/sh", "-c", flood], output_bytes=MIB)
    assert (len(result.stdout), len(result.stderr)) == (MIB, MIB)
    # This machine's root may have a shell that complains at each start.
    assert result.stdout_bytes == 3_000_000
    assert result.stderr_bytes - quiet.stderr_bytes == 1_500_000
    assert result.truncated


async def test_at_its_limit_a_command_and_all_it_started_is_ended(
    connection: asyncssh.SSHClientConnection,
) -> None:
    stubborn = STUBBORN.format("sleep 1000")
    hang = Watch(connection, "/bin/sh", "-c", stubborn, seconds=LIMIT_SECONDS)
    await hang.has_written()
    await put_on(LIMIT_SECONDS)
    assert await hang.ended() == Ended(status=CommandStatus.TIMED_OUT)
    assert hang.output[Stream.STDOUT] == b"up\n"
    assert not await marked(connection, hang.id)


async def test_a_command_that_is_stopped_leaves_nothing(
    host_connection: asyncssh.SSHClientConnection,
) -> None:
    bystander = Watch(host_connection, "sh", "-c", "echo up; sleep 1000")
    forks = 'while :; do (sh -c "sleep 3") & sleep 0.05; done'
    victim = Watch(host_connection, "sh", "-c", f"echo up; {forks}")
    await bystander.has_written()
    await victim.has_written()
    victim.stop.set()
    assert await victim.ended() == Ended(status=CommandStatus.KILLED)
    assert not await marked(host_connection, victim.id)
    assert await marked(host_connection, bystander.id)
    bystander.stop.set()
    assert await bystander.ended() == Ended(status=CommandStatus.KILLED)


async def test_who_holds_the_output_open_does_not_hold_up_the_end(
    host_connection: asyncssh.SSHClientConnection,
) -> None:
    left = Watch(host_connection, "/bin/sh", "-c", STUBBORN.format("exit 3"))
    assert await left.ended() == Ended(status=CommandStatus.EXITED, exit_code=3)
    assert await marked(host_connection, left.id)
    assert await end_processes(host_connection, left.id)
    assert not await marked(host_connection, left.id)


async def test_a_command_that_was_let_go_runs_on_until_it_is_ended(
    host_connection: asyncssh.SSHClientConnection,
) -> None:
    orphan = Watch(host_connection, "/bin/sh", "-c", STUBBORN.format("sleep 1000"))
    await orphan.has_written()
    await orphan.let_go()
    assert await marked(host_connection, orphan.id)
    assert await end_processes(host_connection, orphan.id)
    assert not await marked(host_connection, orphan.id)


async def test_a_lost_connection_is_an_interruption_and_no_second_run(
    host_connection: asyncssh.SSHClientConnection,
    guest_connection: asyncssh.SSHClientConnection,
) -> None:
    lost = Watch(guest_connection, "sh", "-c", "echo up; sleep 1000")
    await lost.has_written()
    guest_connection.abort()
    assert await lost.ended() == Ended(status=CommandStatus.INTERRUPTED, kill_unconfirmed=True)
    with pytest.raises(GuestUnreachable) as failure:
        await run(guest_connection, ["true"])
    assert "nothing was run" in str(failure.value.remedy)


class Sitting:
    """A command on a terminal, what is typed on it, and what it shows."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, invocation: Invocation, seconds: float = 600
    ) -> None:
        self.id = new_id(Prefix.COMMAND)
        self.terminal = Terminal(Window(columns=132, rows=43), "vt100")
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._shown = b""
        inflow = Inflow(1)
        inflow.claim(self._keys())
        order = Order(
            id=self.id,
            invocation=invocation,
            inflow=inflow,
            terminal=self.terminal,
            timeout_seconds=seconds,
        )
        self._task = asyncio.ensure_future(execute(connection, order, lambda *_: None))

    def type(self, keys: bytes) -> None:
        self._typed.put_nowait(keys)

    async def sees(self, text: bytes) -> bytes:
        """Return what was shown up to a text, once it is."""
        while text not in self._shown:
            self._shown += await self.terminal.shown()
        seen, _, self._shown = self._shown.partition(text)
        return seen

    async def ended(self) -> Ended:
        return await self._task

    async def _keys(self) -> AsyncIterator[bytes]:
        while True:
            yield await self._typed.get()


async def test_a_program_on_a_terminal_is_sized_steered_and_interrupted(
    connection: asyncssh.SSHClientConnection,
) -> None:
    line = """
trap 'echo caught; exit 3' INT
stty size; echo "$TERM ${#LONG} $(id -un)"; : </dev/tty && echo mine
while read x; do echo "<$x> $(stty size)"; done
"""
    for user in (None, "nobody"):
        invocation = Invocation(argv=("sh", "-c", line), env={"LONG": "x" * 9000}, user=user)
        sitting = Sitting(connection, invocation)
        # What brings the environment is longer than a terminal's line, and is not echoed.
        assert b"xxx" not in await sitting.sees(b"43 132\r\n")
        await sitting.sees(f"vt100 9000 {user or 'root'}\r\nmine\r\n".encode())
        sitting.terminal.resize(Window(columns=90, rows=30))
        sitting.type(b"typo\x7fed\r")
        await sitting.sees(b"<typed> 30 90\r\n")
        sitting.type(b"\x03")
        await sitting.sees(b"caught\r\n")
        assert await sitting.ended() == Ended(status=CommandStatus.EXITED, exit_code=3)
        assert not await marked(connection, sitting.id)


async def test_at_its_limit_a_program_on_a_terminal_is_ended_with_all_it_started(
    connection: asyncssh.SSHClientConnection,
) -> None:
    stubborn = Invocation(argv=("sh", "-c", STUBBORN.format("sleep 1000")))
    hang = Sitting(connection, stubborn, LIMIT_SECONDS)
    await hang.sees(b"up\r\n")
    await put_on(LIMIT_SECONDS)
    assert await hang.ended() == Ended(status=CommandStatus.TIMED_OUT)
    assert not await marked(connection, hang.id)


@pytest.fixture
async def full(
    host_connection: asyncssh.SSHClientConnection,
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection on which sshd opens no more sessions."""
    sleepers = []
    try:
        while True:
            sleepers.append(await host_connection.create_process("sleep 1000"))
    except asyncssh.ChannelOpenError:
        yield host_connection
    finally:
        for sleeper in sleepers:
            sleeper.close()


async def test_where_there_is_no_room_nothing_is_run_and_nothing_proven_ended(
    full: asyncssh.SSHClientConnection,
) -> None:
    with pytest.raises(GuestUnreachable):
        await run(full, ["true"])
    assert not await end_processes(full, new_id(Prefix.COMMAND))
