"""What a destroyed sandbox left on a host: recorded first, then removed by a loop (I4, I5).

The record is the list of its volumes under its tombstone's id. As long as one is listed there, the
host may hold something of it, and whoever restarts goes on removing it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from scheduler.errors import NotFound
from scheduler.lifecycle.orphans import Budget
from scheduler.model import Event, HostResources, Sandbox, Volume
from scheduler.model.events import SYSTEM
from scheduler.store import EventFilter, Transaction

ORPHAN_EVENT = "host.orphan"
REAPPEARED = "reappeared"
"""The reason of a removal that nobody asked for; these are what the budget counts."""
REAPED = "reaped"


def condemn(
    tx: Transaction,
    sandbox: Sandbox,
    host: HostResources,
    volumes: Sequence[Volume],
    *,
    at: datetime,
    reason_code: str = REAPPEARED,
    actor: str = SYSTEM,
    why: str = "",
) -> None:
    """Record that what is of a sandbox on a host where it is not to be is to be removed.

    It is destroyed, or lives elsewhere and has a `releasing` claim here.
    """
    there = {one.name for one in tx.volumes.of_owner(sandbox.id) if one.host_id == host.id}
    for volume in volumes:
        if volume.name not in there:
            tx.volumes.add(volume)
    what = f"a copy of {sandbox.id}" if sandbox.live else f"destroyed sandbox {sandbox.id}"
    tx.events.add(
        Event(
            at=at,
            kind=ORPHAN_EVENT,
            actor=actor,
            host_id=host.id,
            sandbox_id=sandbox.id,
            reason_code=reason_code,
            message=f"{what} is on {host.name}; removing it{f': {why}' if why else ''}",
            evidence={
                "domain_uuid": sandbox.domain_uuid,
                "volumes": [volume.name for volume in volumes],
            },
        )
    )


def tombstone(tx: Transaction, sandbox_id: str) -> Sandbox | None:
    """Return the record of a destroyed sandbox; None when it lives or was never recorded."""
    try:
        sandbox = tx.sandboxes.get(sandbox_id)
    except NotFound:
        return None
    return None if sandbox.live else sandbox


def with_spent(tx: Transaction, budget: Budget) -> Budget:
    """Return the budget with what was spent of it lately, whoever spent it, restarts included."""
    wanted = EventFilter(kind=ORPHAN_EVENT, reason_code=REAPPEARED)
    since = tx.events.before_last(budget.an_hour, wanted)
    spent = tuple(event.at for event in tx.events.find(since, wanted))
    return replace(budget, spent=spent)
