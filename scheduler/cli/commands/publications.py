"""publish and publication: change sets into repositories, as pull and merge requests."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.change_sets import followed, path_of, verified
from scheduler.cli.completion import complete_sandboxes
from scheduler.cli.deadlines import Deadline
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.following import Outcome, Subject, event_stream, follow
from scheduler.cli.moments import moment
from scheduler.cli.options import given, wait_options
from scheduler.cli.paths import segment
from scheduler.cli.references import find_sandbox
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
@click.argument("reference", metavar="[SANDBOX]", required=False, shell_complete=complete_sandboxes)
@click.option("--from", "before", metavar="SNAPSHOT", help="What SANDBOX was at this snapshot ...")
@click.option("--to", "after", metavar="SNAPSHOT", help="... and has become by this one.")
@click.option("--change-set", "change_set", metavar="ID", help="A change set that is made already.")
@click.option("--name", help="What role and module are called, where they are made now.")
@click.option("--unverified", is_flag=True, help="Do not try it on a fresh clone first.")
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
    reference: str | None,
    before: str | None,
    after: str | None,
    change_set: str | None,
    name: str | None,
    unverified: bool,
    until_merged: bool,
    no_wait: bool,
    timeout_seconds: int | None,
    **wish: Any,
) -> None:
    """Publish what changed in SANDBOX, or a change set that there is, as a pull request.

    The way is: diff, change set, verification on a fresh clone, commit, request. Each step that was
    taken already is not taken again. The repository must be on a forge that the daemon's
    configuration names.
    """
    deadline = Deadline(timeout_seconds)
    if (reference is None) == (change_set is None) or (reference and not (before and after)):
        raise click.UsageError("give SANDBOX with --from and --to, or --change-set")
    if reference is not None:
        made = _made(session, reference, (before, after), name, deadline)
    else:
        made = dict(session.client.get(path_of(str(change_set))))
    if not unverified and (made["verification"] or {}).get("result") != "PASSED":
        made = verified(session, made["id"], deadline)
    body = {key: value for key, value in given(**wish).items() if value != ()}
    body["unverified"] = unverified
    published = dict(session.client.post(f"{path_of(made['id'])}/publications", body))
    _show(session, published, deadline, until_merged=until_merged, no_wait=no_wait)


def _made(
    session: Session,
    reference: str,
    snapshots: tuple[str | None, str | None],
    name: str | None,
    deadline: Deadline,
) -> Document:
    """Return the change set of what became different in a sandbox, made unless it is there."""
    box = find_sandbox(session.client, reference)
    wish = {"from": snapshots[0], "to": snapshots[1]}
    diff = dict(session.client.post(f"/v1/sandboxes/{segment(box['id'])}/diffs", wish))
    found = session.client.items("/v1/change-sets", given(diff_id=diff["id"]))
    there = next((dict(one) for one in found if one["state"] != "FAILED"), None)
    if there is None or name not in (None, there["name"]):
        path = f"/v1/diffs/{segment(diff['id'])}/change-sets"
        there = dict(session.client.post(path, given(name=name)))
    return followed(session, there, deadline)


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
