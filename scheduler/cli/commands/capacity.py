"""capacity: how many more sandboxes of a size there is room for, now, later or with hosts away."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from scheduler.cli.completion import complete_hosts
from scheduler.cli.options import FUTURE, placement_body, placement_options
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import capacities


@click.command(cls=Verb)
@placement_options(image_required=False)
@click.option(
    "--at",
    type=FUTURE,
    metavar="TIME",
    help="Once the leases until then have ended: in 2h, or at 2026-01-05T12:00:00Z.",
)
@click.option(
    "--without",
    multiple=True,
    metavar="HOST",
    help="As if this host were away; may repeat.",
    shell_complete=complete_hosts,
)
def capacity(
    session: Session, *, at: datetime | None, without: tuple[str, ...], **options: Any
) -> None:
    """Count how many sandboxes of a size there is room for, and what keeps hosts from more.

    The size is the daemon's default where it is not given. With IMAGE hosts count only where it
    is or can be copied to; what a copy takes is taken off. Nothing is claimed.
    """
    query = placement_body(**options)
    labels = [f"{key}={value}" for key, value in query.pop("host_selector", {}).items()]
    found = session.client.get(
        "/v1/capacity",
        **query,
        label=labels or None,
        at=None if at is None else at.isoformat(),
        without_host=list(without) or None,
    )
    able = [str(host["host_name"]) for host in found["hosts"] if host["fits"]]
    session.printer.drawing(found, able, lambda printer: capacities.draw(printer, found))
