"""exec: run a command in a sandbox's guest, as if it ran here."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import IO, Any

import click

from scheduler.cli import streams
from scheduler.cli.completion import complete_sandboxes
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.feeding import Feeding
from scheduler.cli.options import DURATION, PAIR, given
from scheduler.cli.outputs import Shown, Write, exit_code_of, follow_output, write_raw
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import commands

Document = dict[str, Any]

MOST_SCRIPT_BYTES = 700_000
"""A request has at most 1 MiB, and quoting takes some of it."""
_WAIT = "240s"


@click.command(
    "exec",
    cls=Verb,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("reference", metavar="SANDBOX", shell_complete=complete_sandboxes)
@click.argument("argv", metavar="[--] [PROGRAM [ARGUMENT...]]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--script",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Run this file, or - for standard input, by /bin/sh, or by PROGRAM.",
)
@click.option(
    "-i", "--stdin", "with_stdin", is_flag=True, help="Give it our standard input, as it comes."
)
@click.option(
    "-t",
    "--tty",
    "on_terminal",
    is_flag=True,
    help="Lend it our terminal, for programs that want one; ~. after Enter closes it.",
)
@click.option("--env", type=PAIR, multiple=True, help="NAME=VALUE; may be repeated.")
@click.option(
    "--secret-env",
    "secret_names",
    metavar="NAME",
    multiple=True,
    help="This variable of our environment; its value is taken out of all that is kept or shown.",
)
@click.option("--cwd", "work_dir", metavar="DIRECTORY", help="Where it runs.")
@click.option("--user", help="Whom it runs as; root unless given.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=DURATION,
    help="End it and all it started after this long, with exit code 124; 10m unless given, and on"
    " a terminal as long as the daemon allows.",
)
@click.option("--raw", is_flag=True, help="Let its output steer our terminal, as ssh does.")
@click.option("--no-wait", is_flag=True, help="Return once it is accepted, with its id.")
def exec_(
    session: Session, *, reference: str, raw: bool, no_wait: bool, on_terminal: bool, **wanted: Any
) -> None:
    """Run PROGRAM in SANDBOX's guest: its output is ours, and so is its exit code.

    Arguments reach the program as they are: no shell looks at them. For a shell's line, say
    `sandboxctl exec SANDBOX -- sh -c 'LINE'`, or use --script. Ctrl-C leaves it running, unless
    it is still being given input: what breaks off ends it. To a terminal its control characters
    are written as escapes, unless --raw or --tty is given.
    """
    feeding = None
    try:
        if on_terminal:
            _check_lending(session, no_wait=no_wait, **wanted)
        sandbox = find_sandbox(session.client, reference)
        body = _body(**wanted)
        path = f"/v1/sandboxes/{sandbox['id']}/commands"
        if on_terminal:
            click.get_current_context().exit(_on_terminal(session, path, body))
        command = dict(session.client.post(path, body))
        if body.get("stdin_follows"):
            feeding = Feeding(session.client, command["id"], _unlocked(sys.stdin.buffer))
        if no_wait:
            if feeding is not None:
                feeding.wait()
            session.printer.one(command, commands.view(session.now()))
            return
        code = _attended(session, command, write_raw if raw else Shown(), feeding)
    except Failure as failure:
        failure.exit_code = Exit.OWN_FAILURE
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        streams.lost(error)
        code = Exit.OWN_FAILURE
    click.get_current_context().exit(code)


def _attended(session: Session, command: Document, write: Write, feeding: Feeding | None) -> int:
    """Return the command's exit code once it has ended; Ctrl-C lets it run on, once it is fed."""
    try:
        if session.printer.structured:
            path = f"/v1/commands/{command['id']}"
            while command["status"] == "RUNNING":
                command = dict(session.client.get(path, wait=_WAIT))
            session.printer.document(command)
        else:
            command = follow_output(session, command["id"], write)
        return exit_code_of(session, command)
    except KeyboardInterrupt:
        if feeding is not None and feeding.going_on:
            session.narrator.note(f"command {command['id']} is ended: its input broke off")
            return Exit.INTERRUPTED
        session.narrator.note(f"command {command['id']} runs on in the guest")
        session.narrator.hint(f"watch it: sandboxctl command output {command['id']}")
        session.narrator.hint(f"end it: sandboxctl command kill {command['id']}")
        return Exit.INTERRUPTED


def _check_lending(session: Session, *, no_wait: bool, script: Path | None, **_: Any) -> None:
    from scheduler.cli.terminals import check_terminal

    if script is not None:
        raise click.UsageError("--tty and --script want the same standard input")
    if no_wait:
        raise click.UsageError("--tty needs us to stay, and --no-wait has us leave")
    check_terminal(session)


def _on_terminal(session: Session, path: str, body: Document) -> int:
    from scheduler.cli.terminals import run_on_terminal

    # What is typed is its input, whether that was asked for or not.
    return run_on_terminal(session, path, {**body, "stdin_follows": False})


def _body(
    *,
    argv: tuple[str, ...],
    script: Path | None,
    with_stdin: bool,
    env: tuple[tuple[str, str], ...],
    secret_names: tuple[str, ...],
    work_dir: str | None,
    user: str | None,
    timeout_seconds: int | None,
) -> Document:
    # Options end at SANDBOX, so what marks their end is left for us to take away.
    program = list(argv[1:] if argv[:1] == ("--",) else argv)
    if not program and script is None:
        raise click.UsageError("say what to run: PROGRAM, or --script FILE")
    if script is not None and with_stdin:
        raise click.UsageError("--script and --stdin want the same standard input")
    return given(
        argv=program or None,
        script=None if script is None else _text_of(script),
        stdin_follows=True if with_stdin else None,
        env=dict(env) or None,
        secret_env=dict(map(_secret, secret_names)) or None,
        work_dir=work_dir,
        user=user,
        timeout_seconds=timeout_seconds,
    )


def _text_of(script: Path) -> str:
    try:
        file = sys.stdin.buffer if str(script) == "-" else script.open("rb")
        with file:
            return _bounded(file.read(MOST_SCRIPT_BYTES + 1)).decode()
    except OSError as error:
        raise click.BadParameter(f"{script} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{script} is no text in UTF-8: {error}") from error


def _bounded(raw: bytes) -> bytes:
    if len(raw) > MOST_SCRIPT_BYTES:
        raise click.UsageError(
            f"a script has at most {MOST_SCRIPT_BYTES} bytes; what is larger goes to --stdin of a"
            " program: exec -i SANDBOX -- sh -s"
        )
    return raw


def _unlocked(file: IO[bytes]) -> IO[bytes]:
    """Return what a thread may read from while we end: a buffer's lock would stop Python then."""
    unlocked: IO[bytes] = getattr(file, "raw", file)
    return unlocked


def _secret(name: str) -> tuple[str, str]:
    value = os.environ.get(name)
    if value is None:
        raise click.BadParameter(f"there is no variable {name} in the environment")
    return name, value
