"""command: the commands that were run in sandboxes, now and long afterwards."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.options import sandbox_argument
from scheduler.cli.outputs import Shown, exit_code_of, follow_output
from scheduler.cli.paths import segment
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import commands

Document = dict[str, Any]

_KILL_WAIT = "60s"

_command_argument = click.argument("command_id", metavar="COMMAND")


@click.group()
def command() -> None:
    """Commands in guests: what was run, what it said, how it ended."""


@command.command("list", cls=Verb)
@sandbox_argument()
@click.option("--limit", type=click.IntRange(min=1), help="At most this many, newest first.")
def list_(session: Session, *, reference: str, limit: int | None) -> None:
    """List the commands of SANDBOX, newest first; by its id also once it is destroyed."""
    sandbox = find_sandbox(session.client, reference)
    found = session.client.items(f"/v1/sandboxes/{sandbox['id']}/commands", at_most=limit)
    session.printer.many(found, commands.view(session.now()))


@command.command(cls=Verb)
@_command_argument
def show(session: Session, *, command_id: str) -> None:
    """Show what was asked for, by whom, and how it ended."""
    found = dict(session.client.get(_path(command_id)))
    session.printer.one(found, commands.view(session.now()), commands.detail(found))


@command.command(cls=Verb)
@_command_argument
def output(session: Session, *, command_id: str) -> None:
    """Write what COMMAND wrote, and what it still writes, and end with its exit code.

    To a terminal every control character is shown as an escape; to a file or a pipe the bytes are
    as they were.
    """
    ended = follow_output(session, command_id.upper(), Shown())
    click.get_current_context().exit(exit_code_of(session, ended))


@command.command(cls=Verb)
@_command_argument
@click.option("--no-wait", is_flag=True, help="Return once it is accepted, without watching it.")
def kill(session: Session, *, command_id: str, no_wait: bool) -> None:
    """End COMMAND and all that it started in the guest."""
    query = {} if no_wait else {"wait": _KILL_WAIT}
    killed = dict(session.client.post(f"{_path(command_id)}/kill", **query))
    session.printer.one(killed, commands.view(session.now()))


def _path(command_id: str) -> str:
    return f"/v1/commands/{segment(command_id.upper())}"
