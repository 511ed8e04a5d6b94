"""ca: the SSH authorities that guests trust, rotated and retired."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.deadlines import Deadline
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.options import dry_run_option, wait_options, yes_option
from scheduler.cli.paths import segment
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import authorities as views

Document = dict[str, Any]

ALL = "/v1/ssh-authorities"
WAIT_SECONDS = 20.0


@click.group()
def ca() -> None:
    """The SSH authorities: whose signature opens guests, and proves who they are."""


@ca.command(cls=Verb)
@click.argument("name", metavar="[AUTHORITY]", required=False)
def show(session: Session, *, name: str | None) -> None:
    """Show every authority with how many guests trust it, or one with which these are."""
    if name is None:
        found = session.client.get(ALL)["items"]
        session.printer.many(found, views.view(session.now()))
        return
    one = dict(session.client.get(f"{ALL}/{segment(name)}"))
    session.printer.drawing(one, [one["name"]], lambda printer: views.draw(printer, one))


@ca.command(cls=Verb)
@wait_options
def rotate(session: Session, *, no_wait: bool, timeout_seconds: int | None) -> None:
    """Have a new authority sign from now on; guests that are there go on trusting theirs."""
    asked = dict(session.client.post(f"{ALL}/rotate"))
    if not no_wait:
        asked = _settled(session, asked, "MAKING", Deadline(timeout_seconds))
    session.printer.one(asked, views.view(session.now()))
    session.narrator.hint(
        "back the state directory up; retire the older ones once no guest trusts them: "
        "sandboxctl ca show"
    )


@ca.command(cls=Verb)
@click.argument("name", metavar="AUTHORITY")
@click.option(
    "--force", is_flag=True, help="Even when guests trust no other: nobody logs in to them again."
)
@dry_run_option
@yes_option
@wait_options
def retire(
    session: Session,
    *,
    name: str,
    force: bool,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    timeout_seconds: int | None,
) -> None:
    """Remove AUTHORITY's key and revoke what it signed; refused while guests need it."""
    path = f"{ALL}/{segment(name)}/retire"
    body = {"force": force}
    found = dict(session.client.post(path, body, dry_run=True))
    if dry_run:
        session.printer.one(found, views.view(session.now()))
        return
    lost = f" and give {found['guests']} guests up" if found["guests"] else ""
    session.confirm(f"Remove the key of {found['name']}{lost}?", yes=yes)
    gone = dict(session.client.post(path, body))
    if not no_wait:
        gone = _settled(session, gone, "RETIRING", Deadline(timeout_seconds))
    session.printer.one(gone, views.view(session.now()))


def _settled(session: Session, asked: Document, state: str, deadline: Deadline) -> Document:
    path = f"{ALL}/{segment(asked['id'])}"
    doing = "is made" if state == "MAKING" else "is removed"
    with session.narrator.waiting(f"the key of {asked['name']} {doing}"):
        while asked["state"] == state:
            if deadline.passed:
                raise Failure(
                    f"the key of {asked['name']} was not seen to: it is still {state}",
                    exit_code=Exit.TIMED_OUT,
                    hint="is the daemon's loop well? sandboxctl doctor",
                )
            milliseconds = max(1, round(deadline.within(WAIT_SECONDS) * 1000))
            asked = dict(session.client.get(path, wait=f"{milliseconds}ms"))
    return asked
