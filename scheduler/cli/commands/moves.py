"""move: take a sandbox to another host with its disk, or call that off."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.commands.watching import watch_sandbox
from scheduler.cli.completion import complete_hosts
from scheduler.cli.deadlines import Deadline
from scheduler.cli.failures import Failure, Refused
from scheduler.cli.goals import has_moved
from scheduler.cli.options import dry_run_option, given, sandbox_argument, wait_options
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import decisions, sandboxes

Document = dict[str, Any]


@click.command(cls=Verb)
@sandbox_argument()
@click.option(
    "--to",
    "to_host",
    metavar="HOST",
    help="To this host or nowhere; else the daemon chooses.",
    shell_complete=complete_hosts,
)
@click.option("--reason", help="Why; shown with the sandbox until it has moved.")
@click.option(
    "--cancel", is_flag=True, help="Call its move off, as long as no other host has taken it."
)
@dry_run_option
@wait_options
def move(
    session: Session,
    *,
    reference: str,
    cancel: bool,
    dry_run: bool,
    no_wait: bool,
    timeout_seconds: int | None,
    **wanted: str | None,
) -> None:
    """Take SANDBOX to another host with its disk.

    Its guest is shut down, its disk is copied, and it is started there, if it is to run, mostly at
    another address. Id, name, lease, keys and what is on its disk stay.
    """
    body = given(**wanted)
    if cancel and (body or dry_run):
        raise click.UsageError("--cancel takes neither --to, --reason nor --dry-run")
    deadline = Deadline(timeout_seconds)
    before = find_sandbox(session.client, reference)
    if dry_run:
        _show_plan(session, before, body)
        return
    box = _call_off(session, before) if cancel else dict(_ask(session, before, body))
    if not no_wait:
        box = watch_sandbox(session, before, has_moved, deadline, wishes=("moved",), before=before)
        if not cancel:
            _tell_where(session, before, box)
    session.printer.one(box, sandboxes.view(session.now(), [box]))


def _ask(session: Session, box: Document, body: Document, *, dry_run: bool = False) -> Any:
    path = f"/v1/sandboxes/{box['id']}/move"
    try:
        return session.client.post(path, body, dry_run=dry_run or None)
    except Refused as refusal:
        decisions.illustrate(refusal)
        raise


def _show_plan(session: Session, box: Document, body: Document) -> None:
    plan = _ask(session, box, body, dry_run=True)
    decisions.show_plan(session.printer, plan)
    session.narrator.note(
        f"would move {box['sandbox_name']} from {box['host_name']} to {plan['host_name']};"
        " nothing was changed"
    )


def _call_off(session: Session, box: Document) -> Document:
    return dict(session.client.delete(f"/v1/sandboxes/{box['id']}/move"))


def _tell_where(session: Session, before: Document, box: Document) -> None:
    """Tell of another address; raises `Failure` for one that never left.

    One that no other host could bring up may have come back, and has moved all the same.
    """
    if box["host_id"] == before["host_id"] and box["moved_at"] == before["moved_at"]:
        raise Failure(
            f"sandbox {box['sandbox_name']} is on {box['host_name']} as before:"
            " its move was called off",
            hint=f"its story: sandboxctl events --sandbox {box['id']}",
        )
    was, now = before.get("ip_address"), box.get("ip_address")
    if was and now and was != now:
        session.narrator.note(f"its address is {now} now; it was {was}")
