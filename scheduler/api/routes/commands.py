"""/v1/sandboxes/{id}/commands and /v1/commands: run in guests, follow, end, look back."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from scheduler.api.answers import Form, Listing
from scheduler.api.callers import actor_of, once
from scheduler.api.event_stream import EVENTS, QUIET_SECONDS, MessageStream, resumed_after
from scheduler.api.queries import Reference, Wait, wait_seconds
from scheduler.api.routing import OCTETS, Operation
from scheduler.model import Command
from scheduler.model.commands import bytes_of
from scheduler.service.commands import Passage, Piece
from scheduler.service.errands import Mark
from scheduler.service.requests import RunCommand
from scheduler.service.services import Services
from scheduler.store import ListOptions, Page

MARK = r"^[0-9]{1,15}-[0-9]{1,15}$"
_SEEN = re.compile(MARK)
_OF_SANDBOX = "/v1/sandboxes/{reference}/commands"
ONE_COMMAND = "/v1/commands/{command}"

CommandId = Annotated[str, Path(pattern=r"^CMD-[0-9A-Z]{26}$", description="A command's id.")]
After = Annotated[
    str | None,
    Query(pattern=MARK, description="Bytes of stdout and of stderr that were seen, as `id` says."),
]


class _CommandForm(Form[Command]):
    """A command as text: what is no UTF-8 in its output shows as U+FFFD; `output` has the bytes."""

    def answer(self, result: Command) -> Any:
        return super().answer(shown(result))

    def respond(self, result: Command) -> Response:
        return super().respond(shown(result))


COMMAND = _CommandForm(Command)
_ACCEPTED = _CommandForm(Command, HTTPStatus.ACCEPTED)
_STARTED = _CommandForm(Command, HTTPStatus.ACCEPTED, headers={"location": "/v1/commands/{0.id}"})
_COMMANDS: Form[Page[Command]] = Form(Page[Command])


class CommandQuery(BaseModel):
    """Which of a sandbox's commands."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: Annotated[str | None, Field(max_length=1024)] = None

    def options(self) -> ListOptions:
        """Return the page that is asked for."""
        return ListOptions(limit=self.limit, cursor=self.cursor)


class CommandRoutes:
    """What can be asked about commands."""

    def __init__(self, services: Services) -> None:
        self._commands = services.commands
        self._kept = services.kept_answers

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        return (
            Operation(
                method="POST",
                path=_OF_SANDBOX,
                endpoint=self.run,
                answer=Command,
                status=202,
                otherwise=Command,
            ),
            Operation(method="GET", path=_OF_SANDBOX, endpoint=self.find, answer=Listing[Command]),
            Operation(method="GET", path=ONE_COMMAND, endpoint=self.get, answer=Command),
            Operation(
                method="GET",
                path=f"{ONE_COMMAND}/output",
                endpoint=self.output,
                answer=None,
                responses={200: {"content": EVENTS}},
            ),
            Operation(
                method="PUT",
                path=f"{ONE_COMMAND}/input",
                endpoint=self.input,
                answer=Command,
                takes=OCTETS,
            ),
            Operation(
                method="POST",
                path=f"{ONE_COMMAND}/kill",
                endpoint=self.kill,
                answer=Command,
                status=202,
                otherwise=Command,
            ),
        )

    async def run(
        self, request: Request, reference: Reference, body: RunCommand, wait: Wait = None
    ) -> Response:
        """Run a command in a sandbox's guest, at most once; 202 once it is recorded.

        With `wait` it is answered when it has ended, or after that long.
        """
        response = await once(
            request,
            self._kept,
            _STARTED,
            lambda intent: self._commands.run(reference, body, intent),
        )
        return await self._ended(response, wait)

    async def find(self, reference: Reference, query: Annotated[CommandQuery, Query()]) -> Response:
        """List a sandbox's commands without their output, newest first; by id also afterwards."""
        return _COMMANDS.respond(await self._commands.find(reference, query.options()))

    async def get(self, command: CommandId, wait: Wait = None) -> Response:
        """Show a command with its output as text; with `wait` once it has ended."""
        seconds = wait_seconds(wait)
        if seconds is None:
            return COMMAND.respond(await self._commands.get(command))
        return COMMAND.respond(await self._commands.wait(command, seconds))

    async def output(self, request: Request, command: CommandId, after: After = None) -> Response:
        """Stream a command's output as it comes, then how it ended; also long afterwards.

        Each `output` event has `stream`, `offset` and `data` in base64, the last one, `end`, the
        command. It begins after Last-Event-ID, or `after`, or at the beginning.
        """
        seen = resumed_after(request, _SEEN, "how far a command's output was read")
        mark = _mark(seen or after)
        await self._commands.get(command)
        passages = self._commands.follow(command, mark, quiet_seconds=QUIET_SECONDS)
        return MessageStream(_messages(passages))

    async def input(self, request: Request, command: CommandId) -> Response:
        """Send a command that was asked for with `stdin_follows` its standard input, once.

        The body is the bytes themselves, of any length and at any pace, taken as fast as the guest
        reads them. One that breaks off ends the command.
        """
        chunks = _chunks(request)
        return COMMAND.respond(await self._commands.feed(command, chunks, actor_of(request)))

    async def kill(self, request: Request, command: CommandId, wait: Wait = None) -> Response:
        """End a command and all that it started in the guest."""
        response = await once(
            request, self._kept, _ACCEPTED, lambda intent: self._commands.kill(command, intent)
        )
        return await self._ended(response, wait)

    async def _ended(self, response: Response, wait: str | None) -> Response:
        """Answer the command as it ended instead, when asked to wait for that."""
        seconds = wait_seconds(wait)
        if seconds is None:
            return response
        command = await self._commands.wait(json.loads(bytes(response.body))["id"], seconds)
        return (_ACCEPTED if command.running else COMMAND).respond(command)


def shown(command: Command) -> Command:
    """Return the command with its output as a text that JSON can hold."""
    return replace(
        command,
        stdout=bytes_of(command.stdout).decode("utf-8", "replace"),
        stderr=bytes_of(command.stderr).decode("utf-8", "replace"),
    )


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise ConnectionResetError("the caller is gone") from error


async def _messages(passages: AsyncGenerator[Passage, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(passages):
        async for passage in passages:
            yield _message(passage)


def _message(passage: Passage) -> bytes:
    if passage is None:
        return b": quiet\n\n"
    if isinstance(passage, Piece):
        document = {
            "stream": passage.stream.value,
            "offset": passage.offset,
            "data": b64encode(passage.data).decode(),
        }
        mark = f"{passage.mark.stdout}-{passage.mark.stderr}"
        return f"id: {mark}\nevent: output\ndata: {json.dumps(document)}\n\n".encode()
    ended = COMMAND.answer(replace(passage, stdout="", stderr=""))
    return f"event: end\ndata: {ended.text}\n\n".encode()


def _mark(text: str | None) -> Mark:
    if text is None:
        return Mark()
    stdout, _, stderr = text.partition("-")
    return Mark(stdout=int(stdout), stderr=int(stderr))
