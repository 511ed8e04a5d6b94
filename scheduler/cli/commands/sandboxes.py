"""list, show, ip: look at sandboxes."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.completion import complete_hosts
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.goals import STATES
from scheduler.cli.options import PAIR, sandbox_argument
from scheduler.cli.references import find_sandbox
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import sandboxes

Document = dict[str, Any]


@click.command("list", cls=Verb)
@click.option("--state", type=click.Choice(STATES, case_sensitive=False), help="Only this state.")
@click.option("--host", help="Only on this host.", shell_complete=complete_hosts)
@click.option("--agent", help="Only of this agent.")
@click.option("--job", help="Only of this job.")
@click.option("--image", help="Only from this image.")
@click.option("--label", "labels", type=PAIR, multiple=True, help="Only with this label.")
@click.option("--deleted", is_flag=True, help="Also those destroyed in the last 30 days.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many, newest first.")
def list_(
    session: Session,
    *,
    labels: tuple[tuple[str, str], ...],
    deleted: bool,
    limit: int | None,
    **filters: str | None,
) -> None:
    """List sandboxes, newest first."""
    query = {
        "state": filters["state"],
        "host": filters["host"],
        "agent_id": filters["agent"],
        "job_id": filters["job"],
        "base_image": filters["image"],
        "label": [f"{key}={value}" for key, value in labels] or None,
        "include_deleted": deleted or None,
    }
    found = session.client.items("/v1/sandboxes", query, at_most=limit)
    boxes = list(found)
    session.printer.many(boxes, sandboxes.view(session.now(), boxes))
    if not boxes and session.printer.for_people and not any(query.values()):
        session.narrator.hint("no sandboxes yet; make one: sandboxctl create IMAGE")


@click.command(cls=Verb)
@sandbox_argument()
def show(session: Session, *, reference: str) -> None:
    """Show one sandbox in full."""
    box = find_sandbox(session.client, reference)
    now = session.now()
    session.printer.one(box, sandboxes.view(now), sandboxes.detail(box, now))


@click.command(cls=Verb)
@sandbox_argument()
def ip(session: Session, *, reference: str) -> None:
    """Print the address of SANDBOX; exit 1 while it has none."""
    box = find_sandbox(session.client, reference)
    address = session.client.get(f"/v1/sandboxes/{box['id']}/ip")
    if not address.get("ip_address"):
        raise Failure(
            f"sandbox {box['sandbox_name']} has no address yet; it is {box['state']}",
            exit_code=Exit.FAILED,
            hint=f"wait for it: sandboxctl wait {box['id']} --for ip",
        )
    session.printer.value(address, str(address["ip_address"]))
