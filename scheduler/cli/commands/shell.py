"""completion and version: about the program itself; neither needs a daemon."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

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
    """Print the version of this program."""
    from importlib.metadata import version as installed_version

    text = installed_version("sandboxd")
    session.printer.value({"name": PROGRAM, "version": text}, f"{PROGRAM} {text}")
