"""changeset: a diff as Ansible role and Puppet module, to download and to verify on a clone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from scheduler.cli.change_sets import followed, path_of, verified
from scheduler.cli.deadlines import Deadline
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.options import given, wait_options
from scheduler.cli.paths import segment
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import change_sets

Document = dict[str, Any]


@click.group()
def changeset() -> None:
    """Code that brings about on other machines what was done in a sandbox."""


_change_set_argument = click.argument("id", metavar="CHANGESET")


@changeset.command(cls=Verb)
@click.argument("diff", metavar="DIFF")
@click.option("--name", help="What the role and the module are called.")
@wait_options
def create(
    session: Session, *, diff: str, name: str | None, no_wait: bool, timeout_seconds: int | None
) -> None:
    """Make DIFF into an Ansible role and a Puppet module, and have the tools judge both."""
    path = f"/v1/diffs/{segment(diff.upper())}/change-sets"
    made = dict(session.client.post(path, given(name=name)))
    made = followed(session, made, Deadline(timeout_seconds), no_wait=no_wait)
    session.printer.one(made, change_sets.view(session.now()))


@changeset.command("list", cls=Verb)
@click.option("--job", "job_id", help="Only those of this job: its history.")
@click.option("--diff", "diff_id", help="Only those made of this diff.")
def list_(session: Session, *, job_id: str | None, diff_id: str | None) -> None:
    """List change sets, newest first; a job's newest speaks for it."""
    query = given(job_id=job_id, diff_id=diff_id.upper() if diff_id else None)
    found = session.client.items("/v1/change-sets", query)
    session.printer.many(found, change_sets.view(session.now()))


@changeset.command(cls=Verb)
@_change_set_argument
@click.option("--log", is_flag=True, help="Print what tools and play said, and nothing else.")
def show(session: Session, *, id: str, log: bool) -> None:
    """Show CHANGESET: what is in it, what judged it, what its verification found."""
    found = dict(session.client.get(path_of(id)))
    if log and not session.printer.structured:
        session.printer.lines(change_sets.said(found))
        return
    session.printer.drawing(found, [found["id"]], lambda printer: change_sets.draw(printer, found))


@changeset.command(cls=Verb)
@_change_set_argument
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Where to; CHANGESET.tar.gz here unless given, - for standard output.",
)
def archive(session: Session, *, id: str, target: Path | None) -> None:
    """Download CHANGESET: role, module and REVIEW.md in one archive."""
    content = session.client.request("GET", f"{path_of(id)}/archive").body
    if str(target) == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    file = target or Path(f"{id.upper()}.tar.gz")
    try:
        file.write_bytes(content)
    except OSError as error:
        raise Failure(
            f"{file} cannot be written: {error.strerror}",
            exit_code=Exit.FAILED,
            hint="name another file with --to",
        ) from error
    session.printer.value({"file": str(file), "bytes": len(content)}, str(file))


@changeset.command(cls=Verb)
@_change_set_argument
@wait_options
def verify(session: Session, *, id: str, no_wait: bool, timeout_seconds: int | None) -> None:
    """Try CHANGESET on a fresh clone, which must become what the sandbox was.

    The clone is a sandbox of the same job, and is destroyed whatever happens.
    """
    done = verified(session, id, Deadline(timeout_seconds), no_wait=no_wait)
    session.printer.drawing(done, [done["id"]], lambda printer: change_sets.draw(printer, done))
