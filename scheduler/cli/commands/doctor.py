"""doctor: what is wrong with the fleet and its control node, and the command that mends each fault.

The daemon answers for everything it can see. Where it does not answer, what can be seen without it
is told in the same shape: its configuration, its service and its socket.
"""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import doctor as view

Document = dict[str, Any]

_WITHOUT_DAEMON = (Exit.UNREACHABLE, Exit.NOT_AUTHORISED)


@click.command(cls=Verb)
@click.option("--all", "every", is_flag=True, help="Show also what is as it should be.")
@click.option(
    "--config",
    type=click.Path(),
    help="The daemon's configuration, checked when it does not run.",
)
def doctor(session: Session, *, every: bool, config: str | None) -> None:
    """Examine every host and the control node: what is wrong, and the command that mends it.

    Useful also while the daemon does not run. Exit code 0: nothing failed. 1: something did. 7: the
    daemon does not answer. 4: you may not ask it.
    """
    try:
        report, code = _asked(session), Exit.OK
    except Failure as failure:
        if failure.exit_code not in _WITHOUT_DAEMON:
            raise
        report, code = _examine_without_daemon(session, failure, config), failure.exit_code
    shown = [one for one in report["checks"] if every or one["verdict"] != "ok"]
    session.printer.drawing(
        report, view.references(shown), lambda printer: view.draw(printer, report, shown)
    )
    if code is Exit.OK and not report["healthy"]:
        code = Exit.FAILED
    if code is not Exit.OK:
        raise click.exceptions.Exit(code)


def _asked(session: Session) -> Document:
    """Return the daemon's report, and what only a second program can see: that it is another."""
    from scheduler.cli.releases import running
    from scheduler.release import installed

    client = session.client.impatient()
    report: Document = client.get("/v1/doctor")
    ours, theirs = installed(), running(client)
    same = ours == theirs
    check = {
        "subject": "control node",
        "name": "release",
        "verdict": "ok" if same else "warning",
        "message": f"the command line and the daemon are {ours}"
        if same
        else f"the command line is {ours}, and the daemon that runs is {theirs}",
        "remedy": None if same else "systemctl restart sandboxd",
    }
    return {**report, "checks": [*report["checks"], check]}


def _examine_without_daemon(session: Session, failure: Failure, config: str | None) -> Document:
    from scheduler.cli.first_aid import examine

    checks = examine(session.socket_path, failure, config)
    return {"at": session.now().isoformat(), "healthy": False, "checks": checks}
