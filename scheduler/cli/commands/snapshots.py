"""snapshot: points of a sandbox to which it can be brought back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from scheduler.cli.commands.watching import watch_sandbox
from scheduler.cli.deadlines import Deadline
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.goals import reaches
from scheduler.cli.options import (
    dry_run_option,
    given,
    sandbox_argument,
    wait_options,
    yes_option,
)
from scheduler.cli.paths import segment
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import snapshots

Document = dict[str, Any]

WAIT_SECONDS = 20.0
_RESTING = ("READY", "FAILED")


@click.group()
def snapshot() -> None:
    """Points of a sandbox to which it can be brought back."""


_name_argument = click.argument("name", metavar="SNAPSHOT")


@snapshot.command(cls=Verb)
@sandbox_argument()
@_name_argument
@click.option(
    "--external",
    is_flag=True,
    help="Freeze the disk alone; otherwise the memory of a guest that runs is kept too.",
)
@click.option(
    "--manifest/--no-manifest",
    default=None,
    help="List the guest's files, packages and services with it; if it can be asked, by default.",
)
@click.option("--dry-run", is_flag=True, help="Only tell whether it could be made.")
@wait_options
def create(
    session: Session,
    *,
    reference: str,
    name: str,
    external: bool,
    manifest: bool | None,
    dry_run: bool,
    no_wait: bool,
    timeout_seconds: int | None,
) -> None:
    """Make SNAPSHOT of SANDBOX, which must be RUNNING or STOPPED."""
    box = find_sandbox(session.client, reference)
    body = given(name=name, kind="EXTERNAL" if external else None, manifest=manifest)
    made = dict(session.client.post(_all(box), body, dry_run=True if dry_run else None))
    if not (dry_run or no_wait):
        made = _followed(session, box, made, Deadline(timeout_seconds)) or made
        _check(box, made)
    session.printer.one(made, snapshots.view(session.now()))


@snapshot.command("list", cls=Verb)
@sandbox_argument()
def list_(session: Session, *, reference: str) -> None:
    """List the snapshots of SANDBOX, newest first."""
    box = find_sandbox(session.client, reference)
    session.printer.many(session.client.items(_all(box), {}), snapshots.view(session.now()))


@snapshot.command(cls=Verb)
@sandbox_argument()
@_name_argument
def show(session: Session, *, reference: str, name: str) -> None:
    """Show SNAPSHOT of SANDBOX."""
    found = dict(session.client.get(_one(find_sandbox(session.client, reference), name)))
    session.printer.drawing(found, [found["name"]], lambda printer: snapshots.draw(printer, found))


@snapshot.command(cls=Verb)
@sandbox_argument()
@_name_argument
@dry_run_option
@yes_option
@wait_options
def revert(
    session: Session,
    *,
    reference: str,
    name: str,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    timeout_seconds: int | None,
) -> None:
    """Bring SANDBOX back to SNAPSHOT; what it wrote since then is lost."""
    box = find_sandbox(session.client, reference)
    path = f"{_one(box, name)}/revert"
    if dry_run:
        _tell(session, lambda: session.client.post(path, None, dry_run=True), "would be lost")
        return
    session.confirm(f"Lose what {box['sandbox_name']} wrote since {name}?", yes=yes)
    deadline = Deadline(timeout_seconds)
    asked = dict(session.client.post(path, None))
    if no_wait:
        session.printer.one(asked, snapshots.view(session.now()))
        return
    back = _followed(session, box, asked, deadline) or asked
    _check(box, back)
    watch_sandbox(session, box, reaches("RUNNING", "STOPPED"), deadline)
    session.printer.one(back, snapshots.view(session.now()))


@snapshot.command(cls=Verb)
@sandbox_argument()
@_name_argument
@dry_run_option
@yes_option
@wait_options
def delete(
    session: Session,
    *,
    reference: str,
    name: str,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    timeout_seconds: int | None,
) -> None:
    """Delete SNAPSHOT of SANDBOX; its other snapshots stay as they are."""
    box = find_sandbox(session.client, reference)
    path = _one(box, name)
    if dry_run:
        _tell(session, lambda: session.client.delete(path, dry_run=True), "would be deleted")
        return
    session.confirm(f"Delete snapshot {name} of {box['sandbox_name']}?", yes=yes)
    gone = dict(session.client.delete(path))
    if not no_wait:
        left = _followed(session, box, gone, Deadline(timeout_seconds))
        if left is not None:
            _check(box, left)
    session.printer.one(gone, snapshots.view(session.now()))


def _followed(
    session: Session, box: Document, found: Document, deadline: Deadline
) -> Document | None:
    """Wait until nothing is under way for a snapshot; None when it is gone."""
    with session.narrator.waiting(f"snapshot {found['name']} is {found['state']}"):
        while found["state"] not in _RESTING:
            if deadline.passed:
                raise Failure(
                    f"snapshot {found['name']} is {found['state']} still",
                    exit_code=Exit.TIMED_OUT,
                    hint="it goes on; see: sandboxctl snapshot show "
                    f"{box['sandbox_name']} {found['name']}",
                )
            milliseconds = max(1, round(deadline.within(WAIT_SECONDS) * 1000))
            try:
                found = dict(session.client.get(_one(box, found["name"]), wait=f"{milliseconds}ms"))
            except Failure as failure:
                if failure.exit_code is Exit.NOT_FOUND:
                    return None
                raise
            session.narrator.happened(
                f"snapshot {found['name']} is {found['state']}", session.now()
            )
    return found


def _check(box: Document, found: Document) -> None:
    """Fail when what was asked of a snapshot could not be done."""
    if found["reason"] is not None:
        raise Failure(
            f"snapshot {found['name']} is {found['state']}: {found['reason']}",
            exit_code=Exit.FAILED,
            hint=f"its story: sandboxctl events --sandbox {box['id']}",
            document=found,
        )


def _tell(session: Session, ask: Callable[[], Any], what: str) -> None:
    found = dict(ask())
    session.narrator.note(f"what follows {what}; nothing was changed")
    session.printer.drawing(found, [found["name"]], lambda printer: snapshots.draw(printer, found))


def _all(box: Document) -> str:
    return f"/v1/sandboxes/{box['id']}/snapshots"


def _one(box: Document, name: str) -> str:
    return f"{_all(box)}/{segment(name)}"
