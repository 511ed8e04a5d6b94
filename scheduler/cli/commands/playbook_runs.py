"""playbook run: a stored play on running sandboxes, with the recap of each."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.deadlines import Deadline
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.options import DURATION, given, sandbox_argument
from scheduler.cli.paths import segment
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import playbook_runs

Document = dict[str, Any]

_WAIT = "20s"
_SPARE_SECONDS = 3600


@click.command(cls=Verb)
@click.argument("name", metavar="PLAYBOOK")
@sandbox_argument(many=True)
@click.option("--check", is_flag=True, help="Change nothing, and tell what would be changed.")
@click.option("--timeout", "timeout_seconds", type=DURATION, help="For each sandbox; 20m if unset.")
@click.option("--no-wait", is_flag=True, help="Return once it is accepted, with its id.")
def run(
    session: Session,
    *,
    name: str,
    references: tuple[str, ...],
    check: bool,
    timeout_seconds: int | None,
    no_wait: bool,
) -> None:
    """Play PLAYBOOK, as it is now, on each SANDBOX; Ctrl-C lets it be played on."""
    boxes = [find_sandbox(session.client, one)["id"] for one in references]
    body = given(sandboxes=boxes, check=check, timeout_seconds=timeout_seconds)
    found = dict(session.client.post(f"/v1/playbooks/{segment(name)}/runs", body))
    if no_wait:
        session.printer.one(found, playbook_runs.view(session.now()))
        return
    found = _ended(session, found)
    _print(session, found)
    _judge(session, found)


@click.command(cls=Verb)
@click.argument("name", metavar="PLAYBOOK")
@click.option("--run", "run_id", help="Show this one, with what was said.")
def runs(session: Session, *, name: str, run_id: str | None) -> None:
    """List the runs of PLAYBOOK, newest first, or show one."""
    if run_id is not None:
        found = dict(session.client.get(_path(run_id)))
        _print(session, found)
        if not session.printer.structured:
            session.printer.lines(playbook_runs.said(found))
        return
    listed = session.client.items(f"/v1/playbooks/{segment(name)}/runs")
    session.printer.many(listed, playbook_runs.view(session.now()))


@click.command(cls=Verb)
@click.argument("run_id", metavar="RUN")
def cancel(session: Session, *, run_id: str) -> None:
    """End what is played of RUN, and never begin the rest."""
    _print(session, _ended(session, dict(session.client.post(f"{_path(run_id)}/cancel"))))


def _ended(session: Session, found: Document) -> Document:
    """Return the run once it has ended."""
    deadline = Deadline(len(found["plays"]) * found["timeout_seconds"] + _SPARE_SECONDS)
    try:
        with session.narrator.waiting(f"run {found['id']} is played"):
            while found["ended_at"] is None:
                if deadline.passed:
                    raise Failure("stopped waiting; it goes on", exit_code=Exit.TIMED_OUT)
                found = dict(session.client.get(_path(found["id"]), wait=_WAIT))
    except KeyboardInterrupt:
        raise Failure(
            "detached; it is played on",
            exit_code=Exit.INTERRUPTED,
            hint=f"end it: sandboxctl playbook cancel {found['id']}",
        ) from None
    return found


def _judge(session: Session, found: Document) -> None:
    """End as the plays did."""
    statuses = {play["status"] for play in found["plays"]}
    if statuses != {"SUCCEEDED"}:
        code = Exit.TIMED_OUT if "TIMED_OUT" in statuses else Exit.FAILED
        session.narrator.hint(
            f"read what was said: sandboxctl playbook runs {found['playbook_name']}"
            f" --run {found['id']}"
        )
        click.get_current_context().exit(code)


def _print(session: Session, found: Document) -> None:
    session.printer.drawing(
        found, [found["id"]], lambda printer: playbook_runs.draw(printer, found)
    )


def _path(run_id: str) -> str:
    return f"/v1/playbook-runs/{segment(run_id.upper())}"
