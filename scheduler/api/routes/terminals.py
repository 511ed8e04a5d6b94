"""/v1/commands/{id}/terminal and /window: a command's terminal, carried outside of HTTP."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from scheduler.api.callers import actor_of
from scheduler.api.routes.commands import COMMAND, ONE_COMMAND, CommandId
from scheduler.api.routing import Operation, Row, table
from scheduler.api.switching import Over, Upgrade
from scheduler.model import Command
from scheduler.service.requests import TerminalWindow
from scheduler.service.services import Services


class TerminalRoutes:
    """What can be asked about terminals."""

    def __init__(self, services: Services) -> None:
        self._terminals = services.terminals

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("GET", f"{ONE_COMMAND}/terminal", self.show, None, 101),
            ("PUT", f"{ONE_COMMAND}/window", self.resize, Command, 200),
        )
        return table(rows)

    async def show(self, request: Request, command: CommandId) -> Response:
        """Open the terminal of a command asked for with `terminal`: `Upgrade: sandboxd-tunnel`.

        Answers 101 once the guest has the terminal; from then on what is sent is typed on it, and
        what comes is what it shows, unaltered. The connection's end is the command's.
        """
        caller = Upgrade(request.scope, "a terminal", "use sandboxctl exec --tty")
        await self._terminals.show(command, caller, actor_of(request))
        return Over()

    async def resize(self, request: Request, command: CommandId, body: TerminalWindow) -> Response:
        """Tell a command that the terminal it runs on has another size now."""
        resized = await self._terminals.resize(command, body, actor_of(request))
        return COMMAND.respond(resized)
