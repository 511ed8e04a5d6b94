"""One run of the command line: where the daemon is, how to print, and how failures end it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

import click

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.narration import Narrator
from scheduler.cli.printing import Format, Printer

if TYPE_CHECKING:
    from scheduler.cli.client import Client

DEFAULT_SOCKET = "/run/sandboxd/admin.sock"


class Session:
    """What every command works with."""

    def __init__(self, socket_path: str, form: Format) -> None:
        self.socket_path = socket_path
        self.printer = Printer(sys.stdout, form, drawn=_draws(sys.stdout))
        self.errors = Printer(sys.stderr, Format.TABLE, drawn=_draws(sys.stderr))
        """For pictures that explain but are not the data."""
        self.narrator = Narrator(sys.stderr, drawn=_draws(sys.stderr))
        # A question needs somebody to read it and somebody to answer it.
        self.interactive = sys.stdin.isatty() and sys.stderr.isatty()

    @cached_property
    def client(self) -> Client:
        """Return the HTTP client, loaded only by commands that talk to the daemon."""
        from scheduler.cli.client import Client

        return Client(self.socket_path)

    def now(self) -> datetime:
        """Return the present, aware."""
        return datetime.now(UTC)

    def fail(self, failure: Failure) -> None:
        """Report a failure: as a document where documents were asked for, else to people."""
        if self.printer.structured:
            self.printer.document(dict(failure.document))
        else:
            self.narrator.failed(failure)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something is destroyed; raises `Failure` unless it is agreed to."""
        if yes:
            return
        if not self.interactive:
            raise Failure(
                f"not done: {question.rstrip('?')} needs a yes, and there is no terminal to ask",
                exit_code=Exit.USAGE,
                hint="repeat it with -y",
            )
        if not click.confirm(question, err=True):
            raise Failure("not done: you said no", exit_code=Exit.USAGE)


class Verb(click.Command):
    """A command with the options that every command has; its function gets a `session` first."""

    def __init__(
        self, name: str | None, *, params: Sequence[click.Parameter] = (), **settings: Any
    ) -> None:
        super().__init__(name, params=[*params, *connection_options()], **settings)

    def invoke(self, ctx: click.Context) -> object:
        """Run the function; a failure or Ctrl-C ends the process with its exit code."""
        inherited = ctx.find_root().params
        named = ctx.params.pop("socket_path") or inherited.get("socket_path")
        form = ctx.params.pop("form") or inherited.get("form") or Format.TABLE
        session = Session(socket_path(named), Format(form))
        ctx.params["session"] = session
        try:
            return super().invoke(ctx)
        except Failure as failure:
            session.fail(failure)
            ctx.exit(failure.exit_code)
        except (KeyboardInterrupt, click.Abort):
            session.fail(Failure("interrupted", exit_code=Exit.INTERRUPTED))
            ctx.exit(Exit.INTERRUPTED)


def socket_path(named: str | None) -> str:
    """Return where the daemon listens: as named, else by the environment, else the default."""
    return named or os.environ.get("SANDBOXD_SOCKET") or DEFAULT_SOCKET


def connection_options() -> list[click.Parameter]:
    """Return the options of the root and of every command."""
    return [
        click.Option(
            ["-o", "--output", "form"],
            type=click.Choice([form.value for form in Format]),
            metavar="FORM",
            help="How to print: table (default), wide, json, yaml, or name, one a line.",
        ),
        click.Option(
            ["--socket", "socket_path"],
            type=click.Path(),
            help=f"The daemon's admin socket, else SANDBOXD_SOCKET, else {DEFAULT_SOCKET}.",
        ),
    ]


def _draws(stream: TextIO) -> bool:
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain
