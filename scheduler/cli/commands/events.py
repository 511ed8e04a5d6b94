"""events: the journal of everything that happened, with reasons; `-f` stays and watches."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.completion import complete_hosts, complete_sandboxes
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb

Document = dict[str, Any]


@click.command(cls=Verb)
@click.option(
    "--sandbox", "reference", help="Only of this sandbox.", shell_complete=complete_sandboxes
)
@click.option("--host", help="Only of this host.", shell_complete=complete_hosts)
@click.option("--kind", help="Only of this kind, such as sandbox.state.")
@click.option("--since", type=click.IntRange(min=0), help="Only after this sequence number.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="At most the newest so many.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
def events(
    session: Session,
    *,
    reference: str | None,
    host: str | None,
    kind: str | None,
    since: int | None,
    limit: int,
    follow: bool,
) -> None:
    """Show what happened, oldest first."""
    query = {
        "sandbox_id": find_sandbox(session.client, reference)["id"] if reference else None,
        "host": host,
        "kind": kind,
        "since": since,
    }
    raise NotImplementedError
