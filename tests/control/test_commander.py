"""Commands from request to end, in real shells: durable first, once, and ended for sure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scheduler.clock import SystemClock
from scheduler.control.commander import Commander
from scheduler.control.tally import Untold
from scheduler.errors import Conflict, GuestUnreachable, GuestUntrusted, QuotaExceeded
from scheduler.model import Command, CommandStatus, Sandbox, SandboxState
from scheduler.service.errands import Errands, Mark
from scheduler.service.intents import Intent
from scheduler.service.requests import RunCommand
from scheduler.store import EventFilter, ListOptions
from tests.guests.house import GuestHouse, guest_house
from tests.service.planes import ME, Plane, database, plane
from tests.waits import DEADLINE_SECONDS, until

OPTIONS = ListOptions()


class Counted(Untold):
    """Notes how commands ended, and how long they took."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, float]] = []

    def command_ended(self, status: str, seconds: float, /) -> None:
        self.ends.append((status, seconds))


class Lodge:
    """A plane with a running sandbox, whose guest is this machine, and a commander."""

    def __init__(self, there: Plane, house: GuestHouse, sandbox: Sandbox) -> None:
        self.plane = there
        self.house = house
        self.sandbox = sandbox
        self.commands = there.services.commands
        self.told = Counted()
        self.commander = self.another_commander(there.errands)

    def another_commander(self, errands: Errands | None = None) -> Commander:
        """A daemon's, over these errands, or the next daemon's, which knows of none."""
        return Commander(
            self.plane.store,
            self.plane.clock,
            guests=self.house,
            errands=Errands() if errands is None else errands,
            tally=self.told,
            told=self.plane.journal.poke,
            pauses_seconds=(0.0, 0.0),
        )

    async def ask(self, *argv: str, **fields: object) -> Command:
        body = {"argv": list(argv), **fields} if argv else fields
        request = RunCommand.model_validate(body)
        return await self.commands.run(self.sandbox.id, request, Intent(actor=ME))

    async def ran(self, *argv: str, **fields: object) -> Command:
        command = await self.ask(*argv, **fields)
        await self.commander.carry_out(command.id)
        return await self.commands.get(command.id)

    @asynccontextmanager
    async def running(self, *argv: str, **fields: object) -> AsyncIterator[Command]:
        """A command that has written something and goes on."""
        command = await self.ask(*argv, **fields)
        work = asyncio.ensure_future(self.commander.carry_out(command.id))
        live = self.plane.errands.output(command.id)
        assert live is not None
        await until(lambda: live.kept_bytes > 0 or work.done(), what="output")
        try:
            yield command
        finally:
            await asyncio.wait_for(work, DEADLINE_SECONDS)

    async def events(self) -> list[str]:
        found = await self.plane.store.read(
            lambda tx: tx.events.find(0, EventFilter(sandbox_id=self.sandbox.id))
        )
        return [event.kind for event in found if event.kind.startswith("command.")]


@pytest.fixture
async def lodge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lodge]:
    # On a busy machine each of some twenty looks at all processes takes a second and more.
    monkeypatch.setattr("scheduler.guests.endings.END_SECONDS", DEADLINE_SECONDS)
    async with plane(database(tmp_path), SystemClock()) as there, guest_house() as house:
        await there.add_host("alpha")
        made = await there.create(sandbox_name="box")
        states = (SandboxState.STARTING, SandboxState.RUNNING)
        yield Lodge(there, house, await there.become(made, *states, address="192.0.2.7"))


def all_bytes(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.glob("state.db*"))


def alive(command: Command) -> bool:
    mark = f"SANDBOXD_COMMAND={command.id}".encode()
    # Not by a pattern with a slash: that fails where a process ends between two of its steps.
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False


async def test_i9_a_command_is_durable_before_it_is_run(lodge: Lodge) -> None:
    asked = await lodge.ask(
        "sh", "-c", "cat; printf '\\377'; echo no >&2; exit 3", stdin_base64="AAH/"
    )
    stored = await lodge.commands.get(asked.id)
    assert (stored.status, stored.exit_code, lodge.house.asked) == (CommandStatus.RUNNING, None, 0)
    await lodge.commander.carry_out(asked.id)
    ended = await lodge.commands.get(asked.id)
    assert (ended.status, ended.exit_code, ended.stderr) == (CommandStatus.EXITED, 3, "no\n")
    assert ended.stdout.encode("utf-8", "surrogateescape") == b"\x00\x01\xff\xff"
    assert (ended.stdout_bytes, ended.stderr_bytes, ended.truncated) == (4, 3, False)
    assert ended.ended_at is not None
    took = (ended.ended_at - ended.started_at).total_seconds()
    assert lodge.told.ends == [("exited", took)]
    assert await lodge.events() == ["command.started", "command.ended"]
    assert await lodge.commander.carry_out(asked.id) is None
    assert lodge.house.asked == 1


async def test_i11_secrets_are_neither_kept_nor_shown(lodge: Lodge, tmp_path: Path) -> None:
    token = "ghp" + "_" + "a1B2" * 9
    ended = await lodge.ran(
        "sh",
        "-c",
        f'echo "$PASSWORD" "$PLAIN"; echo hunter2hunter2; echo {token}',
        env={"PLAIN": "shown"},
        secret_env={"PASSWORD": "correct horse"},
        redact=["hunter2"],
        user="root",
        work_dir="/tmp",
        timeout_seconds=30,
    )
    assert (
        ended.stdout == "[redacted:named] shown\n" + "[redacted:named]" * 2 + "\n[redacted:token]\n"
    )
    assert ended.env_json == '["PASSWORD", "PLAIN"]'
    assert token not in ended.command
    assert "hunter2" not in ended.command
    assert ended.metadata is not None
    assert (ended.metadata.user, ended.metadata.work_dir) == ("root", "/tmp")
    assert ended.metadata.timeout == 30
    assert ended.metadata.redacted == {
        "env.PASSWORD": "named",
        "stdout.named": "3",
        "stdout.token": "1",
    }
    stored = all_bytes(tmp_path)
    for secret in (b"correct horse", b"hunter2", token.encode()):
        assert secret not in stored


async def test_a_script_is_read_from_standard_input(lodge: Lodge) -> None:
    ended = await lodge.ran(script='x=`echo inner`\necho "$x"\nexit 4\n')
    assert (ended.stdout, ended.exit_code) == ("inner\n", 4)
    assert ended.command.startswith("x=`echo inner`")


async def test_output_beyond_the_limit_is_counted_and_not_kept(lodge: Lodge) -> None:
    ended = await lodge.ran("head", "-c", "3000001", "/dev/zero")
    assert (len(ended.stdout), ended.stdout_bytes) == (1 << 20, 3_000_001)
    assert ended.truncated


async def test_a_reader_follows_from_wherever_it_was(lodge: Lodge) -> None:
    seen: list[bytes] = []
    mark = Mark()
    async with lodge.running("sh", "-c", "echo one; echo two >&2; sleep 0.1") as command:
        follow = lodge.commands.follow(command.id, mark, quiet_seconds=5)
        async for passage in follow:
            if isinstance(passage, Command):
                assert passage.status is CommandStatus.EXITED
                break
            if passage is not None:
                seen.append(passage.data)
                mark = passage.mark
    assert (b"".join(seen), mark) == (b"one\ntwo\n", Mark(stdout=4, stderr=4))
    for start, rest in ((Mark(), b"one\ntwo\n"), (Mark(stdout=3, stderr=4), b"\n"), (mark, b"")):
        again = [one async for one in lodge.commands.follow(command.id, start, quiet_seconds=5)]
        pieces = [one.data for one in again if one is not None and not isinstance(one, Command)]
        assert b"".join(pieces) == rest
        assert isinstance(again[-1], Command)


async def test_a_quiet_command_is_told_to_be_there_still(lodge: Lodge) -> None:
    async with lodge.running("sh", "-c", "echo up; sleep 60") as command:
        after = Mark(stdout=3)
        async for passage in lodge.commands.follow(command.id, after, quiet_seconds=0.01):
            assert passage is None
            break
        await lodge.commands.kill(command.id, Intent(actor=ME))
        lodge.commander.nudge(command.id)


async def test_a_command_is_ended_with_all_it_started(lodge: Lodge) -> None:
    stubborn = "trap '' TERM; (setsid sh -c 'sleep 1000' &); echo up; sleep 1000"
    async with lodge.running("sh", "-c", stubborn) as command:
        for _ in range(2):
            asked = await lodge.commands.kill(command.id, Intent(actor=ME))
            assert asked.kill_requested_at is not None
        lodge.commander.nudge(command.id)
    ended = await lodge.commands.get(command.id)
    assert (ended.status, ended.exit_code) == (CommandStatus.KILLED, None)
    assert not ended.kill_unconfirmed
    assert ended.kill_requested_at == asked.kill_requested_at
    assert not alive(command)
    assert await lodge.events() == ["command.started", "command.kill_requested", "command.ended"]
    assert await lodge.commands.kill(command.id, Intent(actor=ME)) == ended


async def test_what_is_to_be_ended_before_it_began_is_not_run(lodge: Lodge) -> None:
    command = await lodge.ask("touch", "/nonexistent/x")
    await lodge.commands.kill(command.id, Intent(actor=ME))
    lodge.house.closed_by = GuestUnreachable("not yet")
    lodge.commander.nudge(command.id)
    await lodge.commander.carry_out(command.id)
    ended = await lodge.commands.get(command.id)
    assert ended.status in (CommandStatus.KILLED, CommandStatus.INTERRUPTED)
    assert ended.exit_code is None


async def test_a_guest_out_of_reach_is_tried_again_because_nothing_was_run(lodge: Lodge) -> None:
    lodge.house.closed_by = GuestUnreachable("no route")
    ended = await lodge.ran("true")
    assert (ended.status, ended.exit_code) == (CommandStatus.INTERRUPTED, None)
    assert ended.reason == "nothing was run: no route"
    assert (lodge.house.asked, ended.kill_unconfirmed) == (3, False)


async def test_somebody_elses_guest_is_not_tried_again(lodge: Lodge) -> None:
    lodge.house.closed_by = GuestUntrusted("another answers")
    ended = await lodge.ran("true")
    assert (ended.status, lodge.house.asked) == (CommandStatus.INTERRUPTED, 1)


async def test_a_lost_connection_interrupts_and_what_is_left_is_ended(lodge: Lodge) -> None:
    async with lodge.running("sh", "-c", "echo up; sleep 1000") as command:
        lodge.house.cut()
    ended = await lodge.commands.get(command.id)
    assert (ended.status, ended.stdout) == (CommandStatus.INTERRUPTED, "up\n")
    assert ended.reason is not None
    assert ended.reason.endswith("nothing of it runs any more")
    assert not ended.kill_unconfirmed
    assert not alive(command)
    assert lodge.house.asked == 2


async def test_the_next_daemon_ends_what_the_last_one_left_and_runs_nothing_again(
    lodge: Lodge, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    async with lodge.running("sh", "-c", f"echo x >>{runs}; echo up; sleep 1000") as command:
        lodge.commander.stop()
    assert (await lodge.commands.get(command.id)).status is CommandStatus.RUNNING
    assert alive(command)
    next_one = lodge.another_commander()
    assert await next_one.pending() == (command.id,)
    await next_one.carry_out(command.id)
    ended = await lodge.commands.get(command.id)
    assert (ended.status, ended.kill_unconfirmed) == (CommandStatus.INTERRUPTED, False)
    assert ended.reason == "the daemon that ran it ended; nothing of it runs any more"
    assert not alive(command)
    assert runs.read_text() == "x\n"
    assert await next_one.pending() == ()


async def test_what_cannot_be_looked_at_is_not_called_ended(lodge: Lodge) -> None:
    command = await lodge.ask("true")
    lodge.house.closed_by = GuestUnreachable("no route")
    await lodge.another_commander().carry_out(command.id)
    ended = await lodge.commands.get(command.id)
    assert (ended.status, ended.kill_unconfirmed) == (CommandStatus.INTERRUPTED, True)
    stopped = await lodge.plane.become(lodge.sandbox, SandboxState.STOPPED)
    assert stopped.state is SandboxState.STOPPED


async def test_nothing_runs_in_a_guest_that_is_off(lodge: Lodge) -> None:
    command = await lodge.ask("true")
    await lodge.plane.become(lodge.sandbox, SandboxState.STOPPED)
    await lodge.another_commander().carry_out(command.id)
    ended = await lodge.commands.get(command.id)
    assert (ended.status, ended.kill_unconfirmed) == (CommandStatus.INTERRUPTED, False)
    assert lodge.house.asked == 0
    with pytest.raises(Conflict, match="STOPPED"):
        await lodge.ask("true")
    assert len((await lodge.commands.find(lodge.sandbox.id, OPTIONS)).items) == 1


async def test_i8_no_more_commands_than_a_guest_can_take(lodge: Lodge) -> None:
    for _ in range(8):
        await lodge.ask("true")
    with pytest.raises(QuotaExceeded) as refusal:
        await lodge.ask("true")
    assert refusal.value.details["limit"] == 8
    (first, *_) = await lodge.commander.pending()
    await lodge.commander.carry_out(first)
    await lodge.ask("true")


async def test_who_waits_is_told_of_the_end(lodge: Lodge) -> None:
    command = await lodge.ask("true")
    waiting = asyncio.ensure_future(lodge.commands.wait(command.id, 60))
    assert (await lodge.commands.wait(command.id, 0)).running
    await lodge.commander.carry_out(command.id)
    assert (await waiting).exit_code == 0


async def test_a_command_that_is_unknown_needs_no_work(lodge: Lodge) -> None:
    assert await lodge.commander.carry_out("CMD-0") is None


async def test_input_that_nobody_sends_lets_nothing_run(
    lodge: Lodge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.control.commander.INPUT_SECONDS", 0.0)
    ended = await lodge.ran("cat", stdin_follows=True)
    assert ended.status is CommandStatus.INTERRUPTED
    assert ended.reason == "nothing was run: nobody sent its input within 0 s"
    assert lodge.house.asked == 0
    with pytest.raises(Conflict, match="waits for no input"):
        await lodge.commands.feed(ended.id, _parts(b"late"), ME)


async def test_input_is_sent_once_by_who_asked_and_within_the_limit(lodge: Lodge) -> None:
    command = await lodge.ask("cat", stdin_follows=True)
    work = asyncio.ensure_future(lodge.commander.carry_out(command.id))
    with pytest.raises(Conflict, match="waits for no input of yours"):
        await lodge.commands.feed(command.id, _parts(b"x"), "somebody else")
    fed = await lodge.commands.feed(command.id, _parts(b"a", b"", b"\0b"), ME)
    assert fed.id == command.id
    await work
    ended = await lodge.commands.get(command.id)
    assert (ended.status, ended.stdout) == (CommandStatus.EXITED, "a\0b")


async def _parts(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
