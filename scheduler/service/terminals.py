"""Terminals of commands: shown to the caller who asked for the command, once, and typed on by them.

The terminal is the command's input too, so one that is closed has broken off: what runs on it is
ended, and never goes on for nobody. Nothing here is kept; what is kept is the command's record.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from scheduler.errors import Conflict, SandboxdError
from scheduler.guests.terminals import Terminal, Window
from scheduler.model import Command
from scheduler.service.commands import CommandService
from scheduler.service.errands import Errands
from scheduler.service.requests import TerminalWindow
from scheduler.service.ssh import Caller


class TerminalService:
    """Shows terminals and has them change their size."""

    def __init__(self, commands: CommandService, errands: Errands) -> None:
        self._commands = commands
        self._errands = errands
        self._shown: set[Terminal] = set()
        self._closed = False

    async def show(self, command_id: str, caller: Caller, actor: str) -> None:
        """Carry a command's terminal to a caller, and what they type to the command, to its end.

        The caller is accepted when the guest has the terminal. Raises `Conflict` for a command
        that waits for no terminal of this caller's, or has ended without.
        """
        terminal = await self._terminal(command_id, actor)
        inflow = self._errands.inflow(command_id)
        if self._closed or inflow is None or inflow.claimed:
            raise _none_of_theirs(command_id)
        accepted = asyncio.Event()
        self._shown.add(terminal)
        try:
            inflow.claim(_typed(caller, accepted))
            if not await terminal.opened():
                raise _never_opened(command_id)
            caller.accept()
            accepted.set()
            await _carry(terminal, caller)
        finally:
            terminal.leave()
            self._shown.discard(terminal)

    async def resize(self, command_id: str, window: TerminalWindow, actor: str) -> Command:
        """Have a command's terminal another size; raises `Conflict` as `show` does."""
        terminal = await self._terminal(command_id, actor)
        terminal.resize(Window(columns=window.columns, rows=window.rows))
        return await self._commands.get(command_id)

    def close(self) -> None:
        """Let go of everybody who looks at one; nobody else may."""
        self._closed = True
        for terminal in self._shown:
            terminal.end()

    async def _terminal(self, command_id: str, actor: str) -> Terminal:
        command = await self._commands.get(command_id)
        terminal = self._errands.terminal(command_id)
        if terminal is None or command.actor != actor:
            raise _none_of_theirs(command_id)
        return terminal


async def _typed(caller: Caller, accepted: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield what a caller types; that they are gone is no end of input."""
    await accepted.wait()
    while data := await caller.read():
        yield data
    raise ConnectionResetError("the terminal was closed")


async def _carry(terminal: Terminal, caller: Caller) -> None:
    try:
        with suppress(ConnectionError):
            while data := await terminal.shown():
                await caller.write(data)
    finally:
        caller.close()


def _none_of_theirs(command_id: str) -> SandboxdError:
    return Conflict(
        f"command {command_id} waits for no terminal of yours",
        remedy="ask for one that does, with terminal, and open that once",
    )


def _never_opened(command_id: str) -> SandboxdError:
    return Conflict(
        f"command {command_id} has ended before it had its terminal",
        remedy="see why: sandboxctl command show",
    )
