"""Watch sandboxes: what every command that changes one does unless told not to, and `wait`."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.deadlines import Deadline
from scheduler.cli.following import Subject, event_stream, follow
from scheduler.cli.goals import Goal, all_of, parse
from scheduler.cli.moments import moment
from scheduler.cli.options import DURATION, sandbox_argument
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import sandboxes

Document = dict[str, Any]


@click.command(cls=Verb)
@sandbox_argument()
@click.option(
    "--for",
    "wishes",
    multiple=True,
    default=("state=RUNNING",),
    show_default="state=RUNNING",
    metavar="WHAT",
    help="state=STATE[,STATE...], moved or ip; may be repeated, then all must hold.",
)
@click.option("--timeout", "timeout_seconds", type=DURATION, help="Give up after this long (124).")
def wait(
    session: Session, *, reference: str, wishes: tuple[str, ...], timeout_seconds: int | None
) -> None:
    """Wait until SANDBOX is as wished, telling what happens to it."""
    try:
        goal = all_of([parse(wish) for wish in wishes])
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from error
    box = find_sandbox(session.client, reference)
    box = watch_sandbox(session, box, goal, Deadline(timeout_seconds), wishes=wishes)
    session.printer.one(box, sandboxes.view(session.now(), [box]))


def watch_sandbox(
    session: Session,
    box: Document,
    goal: Goal,
    deadline: Deadline,
    *,
    wishes: tuple[str, ...] = ("state=RUNNING",),
    newborn: bool = False,
    before: Document | None = None,
) -> Document:
    """Follow a sandbox to a goal, telling what is newer than `box`, or all of a newborn's story.

    `before` is what it was when the change was asked for, if one was.
    """
    path = f"/v1/sandboxes/{box['id']}"
    asked = " ".join(f"--for {wish}" for wish in wishes)
    subject = Subject(
        stream=event_stream(session, deadline, sandbox_id=box["id"], since=0),
        read=lambda: dict(session.client.get(path)),
        outcome=goal,
        awaited=_awaited,
        reattach=f"sandboxctl wait {box['id']} {asked}",
        told_after=None if newborn else moment(box["updated_at"]),
        before=before,
    )
    return follow(session, subject, deadline)


def _awaited(box: Document) -> str:
    why = box.get("reason_message") or box.get("reason_code") or ""
    return f"{box['sandbox_name']}: {box['state']} {why}".rstrip()
