"""events: the journal of everything that happened, with reasons; `-f` stays and watches.

It stays through restarts of the daemon, whatever they take: somebody reads it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from scheduler.cli.completion import complete_hosts, complete_sandboxes
from scheduler.cli.event_stream import EventStream
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.options import NUMBER_OR_PAST, PAST
from scheduler.cli.printing import Format, View
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import events

_IDLE_SECONDS = 60.0
_PAUSE_SECONDS = 0.5
"""Between two looks for a daemon that is away."""


@click.command("events", cls=Verb)
@click.option(
    "--sandbox", "reference", help="Only of this sandbox.", shell_complete=complete_sandboxes
)
@click.option("--host", help="Only of this host.", shell_complete=complete_hosts)
@click.option("--kind", help="Only of this kind, such as sandbox.state; 'sandbox.' is all of them.")
@click.option("--actor", help="Only what this caller, or system, did.")
@click.option(
    "--since",
    type=NUMBER_OR_PAST,
    metavar="NUMBER|TIME",
    help="Everything after this number, or from this time on: 2h ago, or 2026-01-05T12:00:00Z.",
)
@click.option("--until", type=PAST, metavar="TIME", help="Only what happened before this time.")
@click.option(
    "-n",
    "--last",
    type=click.IntRange(min=0, max=1000),
    help="The newest so many of them; 20 unless --since says where to begin.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
def events_(
    session: Session,
    *,
    reference: str | None,
    since: int | datetime | None,
    until: datetime | None,
    last: int | None,
    follow: bool,
    **filters: str | None,
) -> None:
    """Show what happened, oldest first."""
    if since is not None and last is not None:
        raise click.UsageError("--since and --last exclude each other")
    if until is not None and follow:
        raise click.UsageError("--until and --follow exclude each other: news has no end")
    sandbox_id = find_sandbox(session.client, reference)["id"] if reference else None
    query = {
        "sandbox_id": sandbox_id,
        "since": since if isinstance(since, int) else None,
        "since_time": since.isoformat() if isinstance(since, datetime) else None,
        "until_time": None if until is None else until.isoformat(),
        "last": 20 if last is None and since is None else last,
        **filters,
    }
    view = events.view(_host_names(session))
    if not follow:
        found = session.client.items("/v1/events", query)
        session.printer.many(found, view)
        return
    try:
        _follow(session, view, query)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(Exit.INTERRUPTED) from None


def _host_names(session: Session) -> dict[str, str]:
    # Nobody knows hosts by their ids, and no command takes one.
    if session.printer.structured:
        return {}
    return {host["id"]: host["name"] for host in session.client.items("/v1/hosts")}


def _follow(session: Session, view: View, query: dict[str, Any]) -> None:
    printer = session.printer
    stream = session.client.events(idle_seconds=_IDLE_SECONDS, **query).open()
    bare = printer.form is Format.NAME
    if printer.for_people:
        printer.lines([events.header(view)])
    for event in _lasting(session, stream):
        line = view.reference(event) if bare else events.line(event, view)
        printer.streamed(event, line)


def _lasting(session: Session, stream: EventStream) -> Iterator[dict[str, Any]]:
    """Yield events until one side has had enough; a daemon that is away is waited for.

    What is watched for days must not end with a restart: the stream goes on after the last event.
    """
    while True:
        try:
            yield from (event for event in stream if event is not None)
        except Failure as failure:
            if not failure.passing:
                raise
            session.narrator.note(f"{failure.message}; waiting for it")
        _reopened(stream)
        session.narrator.note("the daemon answers again")


def _reopened(stream: EventStream) -> None:
    while True:
        time.sleep(_PAUSE_SECONDS)
        try:
            stream.open()
        except Failure as failure:
            if not failure.passing:
                raise
        else:
            return
