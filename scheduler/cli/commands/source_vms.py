"""source: machines on the hosts that are not sandboxes; prepared and looked at on request."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.commands.images import follow_image
from scheduler.cli.completion import complete_hosts
from scheduler.cli.deadlines import Deadline
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.options import (
    DURATION,
    dry_run_option,
    given,
    host_argument,
    wait_options,
    yes_option,
)
from scheduler.cli.outputs import Shown
from scheduler.cli.paths import segment
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import source_vms

Document = dict[str, Any]

WAIT_SECONDS = 20.0


@click.group()
def source() -> None:
    """Machines on the hosts that are not sandboxes."""


_machine_argument = click.argument("machine", metavar="NAME")


@source.command("list", cls=Verb)
@click.option("--host", help="Only those of this host.", shell_complete=complete_hosts)
def list_(session: Session, *, host: str | None) -> None:
    """List them, as each host was last seen."""
    found = session.client.items("/v1/source-vms", given(host=host))
    session.printer.many(found, source_vms.VIEW)


@source.command(cls=Verb)
@host_argument()
@_machine_argument
def show(session: Session, *, name: str, machine: str) -> None:
    """Show the machine NAME of HOST: how far it is prepared, and what is secret on it."""
    _show(session, dict(session.client.get(_path(name, machine))))


@source.command(cls=Verb)
@host_argument()
@_machine_argument
@click.option("--user", help="As whom to log in: root, or somebody with sudo.")
@click.option("--address", help="Where it answers, when its host cannot tell.")
@click.option("--host-key", metavar="SHA256:...", help="The fingerprint its host key must have.")
@dry_run_option
@yes_option
@wait_options
def prepare(
    session: Session,
    *,
    name: str,
    machine: str,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    timeout_seconds: int | None,
    **wanted: str | None,
) -> None:
    """Prepare NAME of HOST over SSH, so that it can be looked at and cloned.

    It gets an account that may look at it, opened by certificates of sandboxd's own authority;
    nobody else's login is changed. Who says yes is recorded. It may be repeated at any time.
    """
    path, body = f"{_path(name, machine)}/prepare", given(**wanted)
    if dry_run:
        plan = dict(session.client.post(path, body, dry_run=True))
        session.printer.drawing(
            plan, [f"{name}/{machine}"], lambda printer: source_vms.draw_plan(printer, plan)
        )
        if plan["blockers"]:
            click.get_current_context().exit(Exit.CONFLICT)
        return
    session.confirm(f"Change {name}/{machine}, which is not a sandbox?", yes=yes)
    found = _followed(
        session, dict(session.client.post(path, body)), Deadline(timeout_seconds), no_wait=no_wait
    )
    last = found["preparation"]
    if last["outcome"] == "failed":
        raise Failure(
            f"{name}/{machine} was not prepared: {last['reason']}",
            exit_code=Exit.FAILED,
            hint=last["remedy"],
            document=found,
        )
    _show(session, found)


@source.command(
    cls=Verb,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@host_argument()
@_machine_argument
@click.argument("argv", metavar="[--] PROGRAM [WORD...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--timeout", "timeout_seconds", type=DURATION, help="End it after this long.")
def inspect(
    session: Session,
    *,
    name: str,
    machine: str,
    argv: tuple[str, ...],
    timeout_seconds: int | None,
) -> None:
    """Run PROGRAM on the prepared machine NAME of HOST; its exit code is ours.

    Only programs that look, with options that change nothing; no shell reads the words.
    """
    words = list(argv[1:] if argv[:1] == ("--",) else argv)
    if not words:
        raise click.UsageError("say what to run: PROGRAM")
    body = given(argv=words, timeout_seconds=timeout_seconds)
    try:
        found = dict(session.client.post(f"{_path(name, machine)}/inspections", body))
        while found["status"] == "WAITING":
            path = f"/v1/inspections/{segment(found['id'])}"
            found = dict(session.client.get(path, wait=f"{WAIT_SECONDS:.0f}s"))
    except Failure as failure:
        failure.exit_code = Exit.OWN_FAILURE
        raise
    if found["status"] == "FAILED":
        raise Failure(
            f"the look {found['id']} failed: {found['reason']}",
            exit_code=Exit.OWN_FAILURE,
            hint=f"see how the machine is: sandboxctl source show {name} {machine}",
            document=found,
        )
    _tell(session, found)
    click.get_current_context().exit(int(found["exit_code"]))


@source.command(cls=Verb)
@host_argument()
@_machine_argument
@click.option("--as", "called", metavar="IMAGE", help="What to call the image.")
@wait_options
def freeze(
    session: Session,
    *,
    name: str,
    machine: str,
    called: str | None,
    no_wait: bool,
    timeout_seconds: int | None,
) -> None:
    """Make an image of the prepared machine NAME of HOST, for `create --source-vm`.

    It must be shut down, or have a snapshot of its disk that is younger than its preparation: a
    live disk is never read. The machine itself is left as it is.
    """
    taken = dict(session.client.post(f"{_path(name, machine)}/freeze", given(name=called)))
    follow_image(session, taken, Deadline(timeout_seconds), no_wait=no_wait)


@source.command(cls=Verb)
@host_argument()
@_machine_argument
@click.option("--limit", type=click.IntRange(min=1), help="At most this many, newest first.")
def inspections(session: Session, *, name: str, machine: str, limit: int | None) -> None:
    """List the looks at the machine NAME of HOST: who looked, with what, how it ended."""
    found = session.client.items(f"{_path(name, machine)}/inspections", at_most=limit)
    session.printer.many(found, source_vms.inspections(session.now()))


def _followed(session: Session, found: Document, deadline: Deadline, *, no_wait: bool) -> Document:
    """Return a source once its preparation is over."""
    title = f"{found['host_name']}/{found['name']}"
    with session.narrator.waiting(f"{title} is being prepared"):
        while not no_wait and found["preparation"]["outcome"] == "running":
            if deadline.passed:
                raise Failure(
                    f"{title} is being prepared still",
                    exit_code=Exit.TIMED_OUT,
                    hint=f"it goes on; see: sandboxctl source show {title.replace('/', ' ')}",
                )
            milliseconds = max(1, round(deadline.within(WAIT_SECONDS) * 1000))
            path = _path(found["host_name"], found["name"])
            found = dict(session.client.get(path, wait=f"{milliseconds}ms"))
    return found


def _tell(session: Session, found: Document) -> None:
    """Write what a look found as the machine said it, harmless to a terminal."""
    if session.printer.structured:
        session.printer.document(found)
        return
    show = Shown()
    show("stdout", str(found["stdout"]).encode())
    show("stderr", str(found["stderr"]).encode())
    if found["truncated"]:
        written = found["stdout_bytes"] + found["stderr_bytes"]
        session.narrator.note(f"output was cut: it wrote {written} bytes")


def _show(session: Session, found: Document) -> None:
    session.printer.drawing(
        found,
        [source_vms.VIEW.reference(found)],
        lambda printer: source_vms.draw(printer, found),
    )


def _path(host: str, machine: str) -> str:
    return f"/v1/source-vms/{segment(host)}/{segment(machine)}"
