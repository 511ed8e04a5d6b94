"""orphan: domains with our mark that no record stands for; keep them or be rid of them."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.commands.trust import fresh_option
from scheduler.cli.commands.watching import watch_sandbox
from scheduler.cli.deadlines import Deadline
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.goals import reaches
from scheduler.cli.options import given, host_argument, wait_options, yes_option
from scheduler.cli.paths import segment
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import audits, sandboxes

Document = dict[str, Any]


@click.group()
def orphan() -> None:
    """Domains with our mark that no record stands for, and volumes named like ours."""


_domain_argument = click.argument("domain", metavar="DOMAIN")
_reason_option = click.option("--reason", help="Why; kept with the events.")


@orphan.command("list", cls=Verb)
@fresh_option
def list_(session: Session, *, wait_seconds: int) -> None:
    """List orphans and what may be done with each."""
    found = session.client.get("/v1/orphans", wait=f"{wait_seconds}s")["items"]
    session.printer.many(found, audits.ORPHANS)
    if not found:
        session.narrator.hint("none were seen; which hosts were looked at: sandboxctl audit")


@orphan.command(cls=Verb)
@host_argument()
@_domain_argument
@click.option("--force", is_flag=True, help="Also beyond the limits of HOST.")
@_reason_option
@fresh_option
@wait_options
def adopt(
    session: Session,
    *,
    name: str,
    domain: str,
    force: bool,
    reason: str | None,
    wait_seconds: int,
    **waiting: Any,
) -> None:
    """Take DOMAIN on HOST over as the sandbox its mark says it is: by UUID, its beginning or name.

    Its name, owner, labels and address stay; its lease begins anew. A sandbox that is recorded on
    another host, and was not seen there, is taken to HOST, and keeps its lease.
    """
    found = _find(session, name, domain, wait_seconds)
    body = given(force=force or None, reason=reason)
    box = dict(session.client.post(f"{_path(found)}/adopt", body))
    _follow(session, box, box["desired_state"], **waiting)


@orphan.command(cls=Verb)
@host_argument()
@_domain_argument
@_reason_option
@fresh_option
@yes_option
@wait_options
def reap(
    session: Session,
    *,
    name: str,
    domain: str,
    reason: str | None,
    wait_seconds: int,
    yes: bool,
    **waiting: Any,
) -> None:
    """Destroy DOMAIN on HOST with the volumes its mark lists: by UUID, its beginning or name.

    A sandbox that lives on another host lives on; only its copy on HOST goes.
    """
    found = _find(session, name, domain, wait_seconds)
    session.confirm(f"Destroy domain {found['name']} ({found['domain_uuid']}) on {name}?", yes=yes)
    box = dict(session.client.post(f"{_path(found)}/reap", given(reason=reason)))
    if box["state"] == "DESTROYED" or box["desired_state"] != "DESTROYED":
        # It has no record of its own to be watched by.
        session.narrator.note(f"what is of {box['id']} on {name} is being removed")
        waiting["no_wait"] = True
    _follow(session, box, "DESTROYED", **waiting)


def _find(session: Session, host: str, domain: str, wait_seconds: int) -> Document:
    """Return the orphaned domain meant: by UUID, unique beginning of one, or name."""
    orphans = [
        one
        for one in session.client.get("/v1/orphans", wait=f"{wait_seconds}s")["items"]
        if one["host_name"] == host and one["kind"] == "domain"
    ]
    meant = [one for one in orphans if one["name"] == domain] or [
        one for one in orphans if str(one["domain_uuid"]).startswith(domain.lower())
    ]
    if len(meant) == 1:
        return dict(meant[0])
    if meant:
        raise Failure(
            f"{domain!r} is the beginning of {len(meant)} UUIDs",
            exit_code=Exit.USAGE,
            reasons=tuple(f"{one['domain_uuid']}  {one['name']}" for one in meant),
            hint="give more of the UUID",
        )
    raise Failure(
        f"there is no orphaned domain {domain!r} on host {host}",
        exit_code=Exit.NOT_FOUND,
        hint="see them all: sandboxctl orphan list",
    )


def _path(found: Document) -> str:
    return f"/v1/orphans/{segment(found['host_name'])}/{segment(found['domain_uuid'])}"


def _follow(
    session: Session, box: Document, state: str, *, no_wait: bool, timeout_seconds: int | None
) -> None:
    if box["state"] == "ERROR" and state != "DESTROYED":
        session.narrator.hint(f"it had crashed; bring it up again: sandboxctl retry {box['id']}")
    elif not no_wait and box["state"] != state:
        box = watch_sandbox(session, box, reaches(state), Deadline(timeout_seconds), before=box)
    session.printer.one(box, sandboxes.view(session.now(), [box]))
