"""playbook: stored Ansible plays, taken in and given out as YAML."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from scheduler.cli.commands.playbook_runs import cancel, run, runs
from scheduler.cli.commands.playbook_tasks import task
from scheduler.cli.completion import complete_playbooks
from scheduler.cli.deadlines import Deadline
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.options import DURATION, dry_run_option, given, yes_option
from scheduler.cli.paths import segment
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import playbooks

Document = dict[str, Any]

WAIT_SECONDS = 20.0


@click.group()
def playbook() -> None:
    """Stored Ansible plays: made by hand, taken from YAML, checked and given out."""


playbook.add_command(task)
playbook.add_command(run)
playbook.add_command(runs)
playbook.add_command(cancel)

_playbook_argument = click.argument("name", metavar="PLAYBOOK", shell_complete=complete_playbooks)
_hosts_option = click.option("--hosts", help="Ansible's pattern of the hosts it is for.")
_become_option = click.option("--become/--no-become", default=None, help="Play it as root.")


@playbook.command("list", cls=Verb)
def list_(session: Session) -> None:
    """List playbooks by name."""
    found = session.client.items("/v1/playbooks", {"order_by": "name"})
    session.printer.many(found, playbooks.view(session.now()))


@playbook.command(cls=Verb)
@_playbook_argument
def show(session: Session, *, name: str) -> None:
    """Show PLAYBOOK with its tasks."""
    _print(session, session.client.get(_path(name)))


@playbook.command(cls=Verb)
@_playbook_argument
@_hosts_option
@_become_option
def create(session: Session, *, name: str, hosts: str | None, become: bool | None) -> None:
    """Make PLAYBOOK, without tasks yet."""
    body = given(name=name, hosts=hosts, become=become)
    made = dict(session.client.post("/v1/playbooks", body))
    session.printer.one(made, playbooks.view(session.now()))
    session.narrator.hint(f"give it tasks: sandboxctl playbook task add {name} --help")


@playbook.command(cls=Verb)
@_playbook_argument
@click.option("--name", "new_name", metavar="NAME", help="Call it so from now on.")
@_hosts_option
@_become_option
def edit(
    session: Session, *, name: str, new_name: str | None, hosts: str | None, become: bool | None
) -> None:
    """Change PLAYBOOK; only what is named is changed."""
    changes = given(name=new_name, hosts=hosts, become=become)
    if not changes:
        raise click.UsageError("nothing to change; name at least one option")
    before = session.client.get(_path(name))
    answer = session.client.patch(_path(name), changes, revision=before["revision"])
    session.printer.one(dict(answer), playbooks.view(session.now()))


@playbook.command(cls=Verb)
@_playbook_argument
@dry_run_option
@yes_option
def delete(session: Session, *, name: str, dry_run: bool, yes: bool) -> None:
    """Delete PLAYBOOK with its tasks and its file."""
    found = dict(session.client.delete(_path(name), dry_run=True))
    if dry_run:
        _print(session, found)
        return
    session.confirm(f"Delete playbook {name} with {len(found['tasks'])} tasks?", yes=yes)
    gone = dict(session.client.delete(_path(name)))
    session.printer.one(gone, playbooks.view(session.now()))


@playbook.command(cls=Verb)
@_playbook_argument
def export(session: Session, *, name: str) -> None:
    """Print PLAYBOOK as Ansible's YAML."""
    text = dict(session.client.get(f"{_path(name)}/export"))
    if session.printer.structured:
        session.printer.document(text)
    else:
        session.printer.lines(str(text["yaml"]).splitlines())


@playbook.command("import", cls=Verb)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), required=False)
@click.option("--name", help="What to call it; the file's name unless given.")
@click.option("--change-set", help="Take in what this change set brings about, by its id.")
@click.option("--partial", is_flag=True, help="Leave out what a playbook cannot say of it.")
def import_(
    session: Session, *, file: Path | None, name: str | None, change_set: str | None, partial: bool
) -> None:
    """Take in FILE, a playbook of one play, or a change set; - reads standard input."""
    if (file is None) == (change_set is None):
        raise click.UsageError("name either a file or --change-set")
    if file is None:
        if name is None:
            raise click.UsageError("name it: --name")
        asked = {"name": name, "change_set_id": change_set, "partial": partial}
        _print(session, dict(session.client.post("/v1/playbooks/import-change-set", asked)))
        return
    called = name or (file.stem if str(file) != "-" else None)
    if called is None:
        raise click.UsageError("name it: --name")
    body = {"name": called, "yaml": _text(file)}
    taken = dict(session.client.post("/v1/playbooks/import", body))
    _print(session, taken)


@playbook.command(cls=Verb)
@_playbook_argument
@click.option(
    "--timeout",
    "timeout_seconds",
    type=DURATION,
    default="60s",
    help="Stop waiting after this long, with exit code 124.",
)
def check(session: Session, *, name: str, timeout_seconds: int) -> None:
    """Wait until Ansible was asked about PLAYBOOK, and tell what it said."""
    deadline = Deadline(timeout_seconds)
    found = dict(session.client.get(_path(name)))
    with session.narrator.waiting(f"Ansible reads playbook {name}"):
        while found["checked_revision"] != found["revision"]:
            if deadline.passed:
                raise Failure(
                    f"nobody has asked Ansible about playbook {name} yet",
                    exit_code=Exit.TIMED_OUT,
                    hint="is ansible-playbook installed where the daemon runs?",
                )
            milliseconds = max(1, round(deadline.within(WAIT_SECONDS) * 1000))
            found = dict(session.client.get(_path(name), wait=f"{milliseconds}ms"))
    if found["check_fault"]:
        raise Failure(
            f"Ansible does not take playbook {name}",
            reasons=(str(found["check_fault"]),),
            hint=f"see it as Ansible does: sandboxctl playbook export {name}",
            document=found,
        )
    session.printer.one(found, playbooks.view(session.now()))


def _print(session: Session, found: Any) -> None:
    document = dict(found)
    session.printer.drawing(
        document, [document["name"]], lambda printer: playbooks.draw(printer, document)
    )


def _text(file: Path) -> str:
    try:
        if str(file) == "-":
            return sys.stdin.read()
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{file} cannot be read: {error}") from error


def _path(name: str) -> str:
    return f"/v1/playbooks/{segment(name)}"
