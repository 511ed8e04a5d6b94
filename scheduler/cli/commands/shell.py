"""completion and version: about the program itself; both work without a daemon."""

from __future__ import annotations

from dataclasses import asdict

import click
from click.shell_completion import get_completion_class

from scheduler.cli.failures import Failure
from scheduler.cli.session import Session, Verb

PROGRAM = "sandboxctl"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that teaches SHELL to complete.

    Names of sandboxes and hosts are asked of the daemon.

    \b
    bash: eval "$(sandboxctl completion bash)"     in ~/.bashrc
    zsh:  eval "$(sandboxctl completion zsh)"      in ~/.zshrc
    fish: sandboxctl completion fish | source      in ~/.config/fish/config.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(ctx.find_root().command, {}, PROGRAM, "_SANDBOXCTL_COMPLETE").source())


@click.command(cls=Verb)
def version(session: Session) -> None:
    """Print the versions of this program and of the daemon, if one answers."""
    from scheduler.cli.releases import running
    from scheduler.release import installed

    ours, theirs, away = installed(), None, None
    try:
        theirs = running(session.client.impatient())
    except Failure as failure:
        away = failure.message
    told = [f"{PROGRAM} {ours}", f"sandboxd {theirs or f'unknown: {away}'}"]
    session.printer.drawing(
        {"name": PROGRAM, **asdict(ours), "daemon": None if theirs is None else asdict(theirs)},
        told,
        lambda printer: printer.lines(told),
    )
