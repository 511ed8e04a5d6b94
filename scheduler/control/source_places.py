"""Where a source is now: its record, its host and the address that answers, looked up anew."""

from __future__ import annotations

from collections.abc import Callable

from scheduler.errors import GuestUnreachable, HostRefused, NotFound
from scheduler.guests.source_ways import Place
from scheduler.hosts.driver import HostDriver
from scheduler.model import DomainState, ForeignMachine, HostResources, Image, SourceVM
from scheduler.sources.preparations import Preparation
from scheduler.store import Store, Transaction

Drivers = Callable[[HostResources], HostDriver]


async def place_of(
    store: Store, drivers: Drivers, source: SourceVM, preparation: Preparation
) -> Place:
    """Return where a source VM answers; raises `GuestUnreachable` where it does not.

    Host errors are the driver's own.
    """
    host = await store.read(lambda tx: host_of(tx, source))
    machine = await machine_of(drivers(host), host, source)
    if machine.state is not DomainState.RUNNING:
        raise GuestUnreachable(
            f"source VM {host.name}/{source.name} is {machine.state}",
            remedy="start it on its host: sandboxd starts no machine that is not its own",
        )
    address = preparation.address or next(iter(machine.addresses), None)
    if address is None:
        said = "; ".join(f"{where}: {what}" for where, what in machine.said.items())
        raise GuestUnreachable(
            f"nobody on host {host.name} knows where {source.name} answers ({said or 'no source'})",
            remedy="say it: sandboxctl source prepare --address ADDRESS",
        )
    return Place(
        source=source, host=host, address=address, expected_key=preparation.host_key or None
    )


async def machine_of(driver: HostDriver, host: HostResources, source: SourceVM) -> ForeignMachine:
    """Return the machine that was agreed on; raises `GuestUnreachable` when it is not there."""
    machine = await driver.foreign_machine(source.domain_uuid or "")
    if machine is None or machine.name != source.name:
        raise GuestUnreachable(
            f"the machine that was {host.name}/{source.name} is not there any more",
            remedy=f"see what is: sandboxctl source list --host {host.name}",
        )
    return machine


def host_of(tx: Transaction, source: SourceVM) -> HostResources:
    """Return a source's host; raises `GuestUnreachable` when it was removed."""
    try:
        return tx.hosts.by_name(source.host_name or "")
    except NotFound as error:
        raise GuestUnreachable(
            f"host {source.host_name} of source VM {source.name} is not known any more",
            remedy="add it again: sandboxctl host add",
        ) from error


def origin_of(image: Image, tx: Transaction) -> HostResources:
    """Return the host that an image is taken from; `HostRefused`, which is final, once it left."""
    try:
        return tx.hosts.get(image.source_host_id or "")
    except NotFound as error:
        raise HostRefused(
            f"the host that {image.source_volume} was on left the fleet before it was read",
            remedy="take it in again, from a host that is there",
        ) from error
