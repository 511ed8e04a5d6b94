"""start, stop, retry, delete, extend: change what a sandbox is meant to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from scheduler.cli.commands.watching import watch_sandbox
from scheduler.cli.deadlines import Deadline
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.goals import reaches
from scheduler.cli.options import (
    DURATION,
    dry_run_option,
    sandbox_argument,
    wait_options,
    yes_option,
)
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import holdings, sandboxes

Document = dict[str, Any]
Ask = Callable[[Document], Document]

# What ends the watching of one ends the watching of all.
_ENDING = frozenset({Exit.INTERRUPTED, Exit.TIMED_OUT, Exit.UNREACHABLE})


def _changing(verb: str, state: str | None, summary: str) -> click.Command:
    """Return the command that asks for `state`, or for what the answer says is meant to be."""

    @click.command(verb, cls=Verb, help=summary)
    @sandbox_argument(many=True)
    @wait_options
    def change(session: Session, *, references: tuple[str, ...], **waiting: Any) -> None:
        boxes = _meant(session, references)

        def ask(box: Document) -> Document:
            return dict(session.client.post(f"/v1/sandboxes/{box['id']}/{verb}"))

        _change(session, boxes, ask, state, **waiting)

    return change


start = _changing("start", "RUNNING", "Start stopped sandboxes.")
stop = _changing("stop", "STOPPED", "Shut sandboxes down, by force when that takes too long.")
retry = _changing("retry", None, "Try again with sandboxes that are in ERROR.")


@click.command(cls=Verb)
@sandbox_argument(many=True)
@yes_option
@dry_run_option
@wait_options
def delete(
    session: Session, *, references: tuple[str, ...], yes: bool, dry_run: bool, **waiting: Any
) -> None:
    """Destroy sandboxes and everything they hold on their hosts."""
    boxes = _meant(session, references)
    if dry_run:
        _show_holdings(session, boxes)
        return
    names = ", ".join(str(box["sandbox_name"]) for box in boxes)
    session.confirm(f"Destroy {_count(boxes)} ({names})?", yes=yes)

    def ask(box: Document) -> Document:
        return dict(session.client.delete(f"/v1/sandboxes/{box['id']}"))

    _change(session, boxes, ask, "DESTROYED", **waiting)


@click.command(cls=Verb)
@sandbox_argument()
@click.option("--ttl", type=DURATION, required=True, help="How long it lives from now, such as 2h.")
def extend(session: Session, *, reference: str, ttl: int) -> None:
    """Let SANDBOX live longer; its end never comes earlier."""
    box = find_sandbox(session.client, reference)
    box = session.client.post(f"/v1/sandboxes/{box['id']}/extend", {"ttl_seconds": ttl})
    if box["ttl_seconds"] is None and box["expires_at"] is None:
        session.narrator.note("it lives without a limit already; nothing was changed")
    session.printer.one(box, sandboxes.view(session.now(), [box]))


def _meant(session: Session, references: Sequence[str]) -> list[Document]:
    # All are found before any is touched: a typing error changes nothing.
    found = [find_sandbox(session.client, reference) for reference in references]
    return list({box["id"]: box for box in found}.values())


def _show_holdings(session: Session, boxes: list[Document]) -> None:
    held = [
        dict(session.client.delete(f"/v1/sandboxes/{box['id']}", dry_run=True)) for box in boxes
    ]
    session.printer.many(held, holdings.VIEW, rows=holdings.rows(held))
    session.narrator.note(f"would destroy {_count(boxes)}; nothing was changed")


def _change(
    session: Session,
    boxes: list[Document],
    ask: Ask,
    state: str | None,
    *,
    no_wait: bool,
    timeout_seconds: int | None,
) -> None:
    """Ask for all, then watch each; one that fails does not keep the others from being watched."""
    deadline = Deadline(timeout_seconds)
    failures: list[Failure] = []
    asked: list[tuple[Document, Document]] = []
    for box in boxes:
        try:
            asked.append((box, ask(box)))
        except Failure as failure:
            failures.append(failure)
    changed = [answer for _, answer in asked]
    if not no_wait:
        changed = _watched(session, asked, state, deadline, failures)
    if len(boxes) == 1 and failures:
        raise failures[0]
    _report(session, changed, failures, alone=len(boxes) == 1)


def _watched(
    session: Session,
    asked: list[tuple[Document, Document]],
    state: str | None,
    deadline: Deadline,
    failures: list[Failure],
) -> list[Document]:
    settled: list[Document] = []
    for before, answer in asked:
        goal = reaches(state or answer["desired_state"])
        try:
            settled.append(watch_sandbox(session, before, goal, deadline, before=before))
        except Failure as failure:
            if failure.exit_code in _ENDING:
                raise
            failures.append(failure)
    return settled


def _report(
    session: Session, changed: list[Document], failures: list[Failure], *, alone: bool
) -> None:
    """Print what was reached; failures of some go to stderr, so that the data stays one whole."""
    view = sandboxes.view(session.now(), changed)
    if alone:
        session.printer.one(changed[0], view)
    else:
        session.printer.many(changed, view)
    for failure in failures:
        session.narrator.failed(failure)
    if failures:
        raise click.exceptions.Exit(failures[0].exit_code)


def _count(boxes: Sequence[Document]) -> str:
    return "1 sandbox" if len(boxes) == 1 else f"{len(boxes)} sandboxes"
