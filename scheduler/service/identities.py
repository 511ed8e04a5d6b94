"""Another machine answers at a host's address: taken for the host only on an operator's word.

The operator names the UUID that is to be believed from now on. It must be the one that was refused
last, so that nobody accepts a machine that is yet another one by the time the request arrives.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from scheduler.errors import Conflict
from scheduler.model import Event, HostResources
from scheduler.store import Transaction


def acceptable(tx: Transaction, host: HostResources, host_uuid: str) -> HostResources:
    """Return the host with its new identity, unwritten; raises `Conflict` when it may not have it.

    One that has it already is returned as it is.
    """
    refused = host.refused_host_uuid
    known = {"host_uuid": host.host_uuid, "refused_host_uuid": refused}
    if refused is None and host.host_uuid == host_uuid:
        return host
    if refused is None:
        raise Conflict(
            f"host {host.name} answers as the machine it is known to be, {host.host_uuid}",
            remedy="there is nothing to accept",
            details=known,
        )
    if refused != host_uuid:
        raise Conflict(
            f"host {host.name} was {host.host_uuid} and now says {refused}, not {host_uuid}",
            remedy="find out which machine it is, and name that one's UUID",
            details=known,
        )
    for other in tx.hosts.of_machine(host_uuid):
        if other.id != host.id:
            raise Conflict(
                f"{host_uuid} is host {other.name}",
                remedy=f"remove one of {host.name} and {other.name}: they are the same machine",
                details=known,
            )
    return replace(host, host_uuid=host_uuid, refused_host_uuid=None)


def accept(
    tx: Transaction, host: HostResources, host_uuid: str, *, actor: str, at: datetime
) -> HostResources:
    """Take the machine that answers for the host from now on, and tell of it.

    What was recorded on the old machine stays recorded: looks at the new one will not find it.
    """
    accepted = acceptable(tx, host, host_uuid)
    if accepted is host:
        return host
    tx.events.add(
        Event(
            at=at,
            kind="host.identity",
            actor=actor,
            host_id=host.id,
            reason_code="accepted",
            message=f"host {host.name} is another machine from now on: {host_uuid}",
            evidence={"from": host.host_uuid, "to": host_uuid},
        )
    )
    return tx.hosts.replace(accepted, expected_generation=host.generation)
