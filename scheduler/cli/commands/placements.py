"""why: the stored answer to where a sandbox went, or why a request went nowhere."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.completion import complete_sandboxes
from scheduler.cli.paths import segment
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import decisions

Document = dict[str, Any]


@click.command(cls=Verb)
@click.argument("reference", metavar="SANDBOX|DECISION", shell_complete=complete_sandboxes)
def why(session: Session, *, reference: str) -> None:
    """Show why a sandbox is where it is, or was refused."""
    decision = _decision(session, reference)
    session.printer.drawing(
        decision, [str(decision["id"])], lambda printer: decisions.draw(printer, decision)
    )


def _decision(session: Session, reference: str) -> Document:
    if reference.upper().startswith("DEC-"):
        return dict(session.client.get(f"/v1/decisions/{segment(reference.upper())}"))
    box = find_sandbox(session.client, reference)
    return dict(session.client.get(f"/v1/sandboxes/{box['id']}/decision"))
