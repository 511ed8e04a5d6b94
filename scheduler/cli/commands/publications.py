"""publish and publication: change sets into repositories, as pull and merge requests."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.deadlines import Deadline
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.following import Outcome, Subject, event_stream, follow
from scheduler.cli.moments import moment
from scheduler.cli.options import given, wait_options
from scheduler.cli.paths import segment
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import publications

Document = dict[str, Any]

LAST_EVENTS = 100
"""So far back is looked for what happened between the request and the watching."""

_argument = click.argument("reference", metavar="PUBLICATION")
_merged_option = click.option(
    "--until-merged", is_flag=True, help="Watch on until the request is merged or closed."
)


@click.command(cls=Verb)
@click.option("--change-set", "change_set", required=True, metavar="ID", help="What to publish.")
@click.option(
    "--repo", "repo_url", required=True, metavar="URL", help="The repository, over https or ssh."
)
@click.option("--branch", required=True, help="A branch of its own, which is not there yet.")
@click.option("--base", help="The branch to propose it for; the default branch unless given.")
@click.option("--folder", help="Where it goes in the repository; sandboxd/JOB unless given.")
@click.option("--title", help="What reviewers see first.")
@click.option("--message", help="What reviewers read then, as Markdown.")
@click.option("--label", "labels", multiple=True, help="A label of the request; may be repeated.")
@click.option("--reviewer", "reviewers", multiple=True, help="Whom to ask; may be repeated.")
@_merged_option
@wait_options
def publish(
    session: Session,
    *,
    change_set: str,
    until_merged: bool,
    no_wait: bool,
    timeout_seconds: int | None,
    **wish: Any,
) -> None:
    """Publish a change set: commit it to a branch, and open a pull or merge request.

    Its repository must be on a forge that the daemon's configuration names.
    """
    body = {name: value for name, value in given(**wish).items() if value != ()}
    made = dict(session.client.post(f"/v1/change-sets/{segment(change_set)}/publications", body))
    _show(session, made, Deadline(timeout_seconds), until_merged=until_merged, no_wait=no_wait)


@click.group()
def publication() -> None:
    """Change sets on their way into repositories."""


@publication.command("list", cls=Verb)
@click.option("--job", "job_id", help="Only this job's.")
@click.option("--change-set", "change_set_id", metavar="ID", help="Only this change set's.")
@click.option("--status", help="Only those with this status, such as FAILED.")
def list_(
    session: Session, *, job_id: str | None, change_set_id: str | None, status: str | None
) -> None:
    """List publications, newest first."""
    query = given(
        job_id=job_id, change_set_id=change_set_id, status=status.upper() if status else None
    )
    found = session.client.items("/v1/publications", query)
    session.printer.many(found, publications.view(session.now()))


@publication.command(cls=Verb)
@_argument
def show(session: Session, *, reference: str) -> None:
    """Show PUBLICATION: how far it is, where its request is, what it failed of."""
    found = dict(session.client.get(_path(reference)))
    session.printer.one(found, publications.view(session.now()), publications.pairs(found))


@publication.command(cls=Verb)
@_argument
@_merged_option
@wait_options
def retry(
    session: Session,
    *,
    reference: str,
    until_merged: bool,
    no_wait: bool,
    timeout_seconds: int | None,
) -> None:
    """Go on with a failed PUBLICATION from what is proven of it."""
    again = dict(session.client.post(f"{_path(reference)}/retry"))
    _show(session, again, Deadline(timeout_seconds), until_merged=until_merged, no_wait=no_wait)


@publication.command(cls=Verb)
@_argument
@_merged_option
@click.option("--timeout", "seconds", type=int, help="Give up after so many seconds (124).")
def wait(session: Session, *, reference: str, until_merged: bool, seconds: int | None) -> None:
    """Watch PUBLICATION until its request is open, telling what happens."""
    found = dict(session.client.get(_path(reference)))
    _show(session, found, Deadline(seconds), until_merged=until_merged, no_wait=False)


def _show(
    session: Session, made: Document, deadline: Deadline, *, until_merged: bool, no_wait: bool
) -> None:
    """Watch a publication as far as is asked for, and print it."""
    if not no_wait:
        made = _followed(session, made, deadline, until_merged=until_merged)
    session.printer.one(made, publications.view(session.now()))


def _followed(
    session: Session, made: Document, deadline: Deadline, *, until_merged: bool
) -> Document:
    flag = " --until-merged" if until_merged else ""
    path = _path(str(made["id"]))
    subject = Subject(
        stream=event_stream(session, deadline, kind="publication.", last=LAST_EVENTS),
        concerns=lambda event: event["evidence"].get("publication_id") == made["id"],
        read=lambda: dict(session.client.get(path)),
        outcome=lambda one: _outcome(one, until_merged=until_merged),
        awaited=lambda one: f"{one['id']}: {one['status']}",
        reattach=f"sandboxctl publication wait {made['id']}{flag}",
        told_after=moment(made["updated_at"]),
    )
    return follow(session, subject, deadline)


def _outcome(one: Document, *, until_merged: bool) -> Outcome:
    if one["status"] == "FAILED":
        return Failure(
            f"publication {one['id']} failed ({one['reason_code']}): {one['error_msg']}",
            exit_code=Exit.FAILED,
            hint=f"once that is mended: sandboxctl publication retry {one['id']}",
            document=one,
        )
    return bool(one["status"] == "MERGED" or (one["status"] == "PR_CREATED" and not until_merged))


def _path(reference: str) -> str:
    return f"/v1/publications/{segment(reference)}"
