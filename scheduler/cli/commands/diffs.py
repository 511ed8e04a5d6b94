"""diff: what became different in a sandbox between two of its snapshots."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.completion import complete_sandboxes
from scheduler.cli.exits import Exit
from scheduler.cli.paths import segment
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import diffs

Document = dict[str, Any]

DIFFERENT = Exit.FAILED
"""With --exit-code, as diff(1) and git have it."""


@click.command(cls=Verb)
@click.argument("reference", metavar="SANDBOX", shell_complete=complete_sandboxes)
@click.argument("before", metavar="FROM")
@click.argument("after", metavar="TO")
@click.option(
    "--noise",
    multiple=True,
    metavar="PATTERN",
    help="Leave out these paths too, such as '/srv/**/*.log'; may be repeated.",
)
@click.option("--unified", is_flag=True, help="Show changed text files line by line.")
@click.option("--stat", is_flag=True, help="Only count.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 when anything is different.")
def diff(
    session: Session,
    *,
    reference: str,
    before: str,
    after: str,
    noise: tuple[str, ...],
    unified: bool,
    stat: bool,
    exit_code: bool,
) -> None:
    """Show what became different in SANDBOX from snapshot FROM to snapshot TO."""
    body = {"from": before, "to": after, "noise": list(noise)}
    box = find_sandbox(session.client, reference)
    found = dict(session.client.post(f"/v1/sandboxes/{segment(box['id'])}/diffs", body))
    if unified:
        texts = session.client.get(f"/v1/diffs/{segment(found['id'])}/texts")["items"]
        found["texts"] = texts
    session.printer.drawing(
        found, [found["id"]], lambda printer: diffs.draw(printer, found, brief=stat)
    )
    if exit_code and diffs.differs(found):
        raise click.exceptions.Exit(DIFFERENT)
