"""P11: a command in a guest on a warm connection beside plain ssh with a master; and 64 floods.

The guest is OpenSSH's sshd on loopback, so that what is measured is ours and ssh's share, not that
of a slow guest. Run: python -m benchmarks.commands [--only trips]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import quantiles
from typing import Any

from benchmarks.polling import Lag
from benchmarks.rounds import Table, compare, duration, met_or_missed
from scheduler.clock import SystemClock
from scheduler.control.commander import Commander
from scheduler.control.tally import Untold
from scheduler.guests.authorities import Authorities
from scheduler.guests.connections import GuestConnections
from scheduler.guests.dialling import Dialler
from scheduler.guests.execution import Order, execute
from scheduler.guests.seed import guest_access
from scheduler.guests.ways import GuestWays
from scheduler.guests.wrapper import Invocation
from scheduler.ids import Prefix, new_id
from scheduler.model import CommandStatus, HostResources, Sandbox, SandboxState
from scheduler.service.errands import LiveOutput
from scheduler.service.intents import Intent
from scheduler.service.requests import RunCommand
from tests.guests.sshd import ADDRESS, HOST, SANDBOX, GuestSshd, guest_sshd
from tests.service.planes import ME, database, plane

GOAL_TIMES = 1.5
COMMANDS = 10
GUESTS, EACH = 8, 8
FLOOD_BYTES = 8_000_000
OUTPUT_BYTES = 1 << 20


async def _directly(_host: HostResources) -> None:
    return None


@dataclass(frozen=True)
class House:
    """The way to one guest, whatever a host's record says."""

    pool: GuestConnections

    def connected(
        self, sandbox: Sandbox, host: HostResources, *, user: str = "root"
    ) -> AbstractAsyncContextManager[Any]:
        """Lend a connection."""
        del host
        return self.pool.connected(sandbox, HOST, user=user)


@dataclass(frozen=True)
class Ours:
    """A command on a connection that stands, and the whole of it: recorded, run, recorded."""

    house: House
    sandbox: Sandbox
    ask: Callable[[], AbstractAsyncContextManager[None]]

    async def bare(self) -> int:
        """Run commands of which nobody keeps a record."""
        for _ in range(COMMANDS):
            async with self.house.connected(self.sandbox, HOST) as connection:
                ended = await execute(connection, _order("true"), lambda _stream, _data: None)
            assert ended.exit_code == 0
        return COMMANDS

    async def recorded(self) -> int:
        """Run commands as callers have them run."""
        for _ in range(COMMANDS):
            async with self.ask():
                pass
        return COMMANDS


@asynccontextmanager
async def _ours(
    directory: Path, authorities: Authorities, stack: ExitStack
) -> AsyncIterator[tuple[Ours, GuestSshd]]:
    clock = SystemClock()
    async with plane(database(directory), clock) as there, AsyncExitStack() as opened:
        await there.add_host("alpha")
        made = await there.create(sandbox_name="box")
        states = (SandboxState.STARTING, SandboxState.RUNNING)
        box = await there.become(made, *states, address=ADDRESS)
        guest = stack.enter_context(
            guest_sshd(directory, guest_access(authorities.signer, box.id), box)
        )
        dialler = Dialler(_directly, port=guest.port)
        pool = await opened.enter_async_context(
            GuestConnections.open(authorities, clock, dialler=dialler)
        )
        commander = Commander(
            there.store,
            clock,
            guests=House(pool),
            errands=there.errands,
            tally=Untold(),
            told=there.journal.poke,
        )

        @asynccontextmanager
        async def ask() -> AsyncIterator[None]:
            request = RunCommand.model_validate({"argv": ["true"]})
            command = await there.services.commands.run(box.id, request, Intent(actor=ME))
            await commander.carry_out(command.id)
            ended = await there.services.commands.get(command.id)
            assert ended.status is CommandStatus.EXITED
            yield

        yield Ours(House(pool), box, ask), guest


def round_trips(directory: Path, rounds: int) -> Table:
    """Compare commands with those of an ssh that shares a master's connection."""
    authorities = Authorities.open(directory)
    with ExitStack() as stack, asyncio.Runner() as runner:
        opened = AsyncExitStack()
        ours, guest = runner.run(opened.enter_async_context(_ours(directory, authorities, stack)))
        try:
            ssh = _master(directory, authorities, guest, stack)

            def plain() -> int:
                for _ in range(COMMANDS):
                    subprocess.run([*ssh, "true"], check=True)
                return COMMANDS

            return compare(
                "a command on a warm connection",
                {
                    "ssh with a master": plain,
                    "ours, in the guest": lambda: runner.run(ours.bare()),
                    "ours, recorded": lambda: runner.run(ours.recorded()),
                },
                rounds,
            )
        finally:
            runner.run(opened.aclose())


def _master(
    directory: Path, authorities: Authorities, guest: GuestSshd, stack: ExitStack
) -> list[str]:
    """Start ssh's master, and return the command that shares its connection."""
    ways = GuestWays(authorities, SystemClock(), _directly, port=guest.port)
    given = ways.pass_for(guest.sandbox, HOST, seconds=3600, purpose="benchmark")
    for name, text in (
        ("key", given.private_key),
        ("key-cert.pub", given.certificate),
        ("known_hosts", given.known_hosts),
    ):
        (directory / name).write_text(text)
    (directory / "key").chmod(0o600)
    options = [
        *("ssh", "-F", "none", "-S", str(directory / "m"), "-p", str(guest.port), "-l", "root"),
        *("-i", str(directory / "key"), "-o", f"UserKnownHostsFile={directory / 'known_hosts'}"),
        *("-o", f"HostKeyAlias={guest.sandbox.id}", "-o", "LogLevel=ERROR", ADDRESS),
    ]
    subprocess.run([*options[:1], "-M", "-N", "-f", *options[1:]], check=True)
    stack.callback(subprocess.run, [*options[:1], "-O", "exit", *options[1:]], check=False)
    return options


async def floods(directory: Path) -> tuple[int, Lag]:
    """Have 64 commands flood us; return by how many bytes this process grew, and the loop's lag."""
    clock, authorities, lag = SystemClock(), Authorities.open(directory), Lag()
    outputs = [LiveOutput(OUTPUT_BYTES) for _ in range(GUESTS * EACH)]
    async with AsyncExitStack() as opened:
        ways = []
        for number in range(GUESTS):
            sandbox = replace(SANDBOX, id=f"SBX-{number}", created_at=clock.now())
            access = guest_access(authorities.signer, sandbox.id)
            guest = opened.enter_context(guest_sshd(directory, access, sandbox))
            pool = await opened.enter_async_context(
                GuestConnections.open(
                    authorities, clock, dialler=Dialler(_directly, port=guest.port)
                )
            )
            ways += [(pool, guest.sandbox)] * EACH
            async with pool.connected(guest.sandbox, HOST):
                pass
        sampling, before = asyncio.create_task(lag.sample()), _memory()

        async def flood(pool: GuestConnections, sandbox: Sandbox, output: LiveOutput) -> None:
            order = _order("head", "-c", str(FLOOD_BYTES), "/dev/zero")
            async with pool.connected(sandbox, HOST) as connection:
                await execute(connection, order, output.take)

        async with asyncio.TaskGroup() as group:
            for (pool, sandbox), output in zip(ways, outputs, strict=True):
                group.create_task(flood(pool, sandbox, output))
        sampling.cancel()
        assert {output.kept_bytes for output in outputs} == {OUTPUT_BYTES}
        return _memory("VmHWM") - before, lag


def _order(*argv: str) -> Order:
    return Order(id=new_id(Prefix.COMMAND), invocation=Invocation(argv=argv))


def _memory(which: str = "VmRSS") -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{which}:")[1].split()[0]) * 1024


def tell_floods() -> None:
    """Print what the floods cost."""
    with tempfile.TemporaryDirectory() as directory:
        grown, lag = asyncio.run(floods(Path(directory)))
    kept = GUESTS * EACH * OUTPUT_BYTES
    print(
        f"{GUESTS * EACH} floods of {FLOOD_BYTES:,} bytes: grown by {grown / 2**20:.0f} MiB, "
        f"{kept / 2**20:.0f} MiB of it kept output; loop lag p99 "
        f"{duration(quantiles(lag.seconds, n=100)[98])}, worst {duration(max(lag.seconds))}\n"
    )


def tell_round_trips(rounds: int) -> None:
    """Print the table and the goal's verdict."""
    with tempfile.TemporaryDirectory() as directory:
        table = round_trips(Path(directory), rounds)
    print(f"{table.markdown()}\n")
    times = 1 / table.line("ours, recorded").ratio
    kept = met_or_missed(times <= GOAL_TIMES)
    print(f"{times:.2f}x plain ssh; the goal of {GOAL_TIMES}x is {kept}")


def main() -> None:
    """Print the load of this machine, and the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("floods", "trips"))
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    if options.only != "trips":
        tell_floods()
    if options.only != "floods":
        tell_round_trips(options.rounds)


if __name__ == "__main__":
    main()
