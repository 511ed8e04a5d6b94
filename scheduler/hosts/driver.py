"""The port to a hypervisor host: every verb the control loops use, and no other.

Every verb may be repeated: a state already reached is success, so a step that a crash cut short is
simply taken again. `None` and `False` are answers of the host; silence is always an exception.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from scheduler.hosts.plans import BaseImage, DomainPlan, NewReplica
from scheduler.model.observations import (
    AddressReport,
    ForeignMachine,
    Heard,
    Inventory,
    ObservedDomain,
    ObservedVolume,
)


class HostDriver(Protocol):
    """One host. Raises `HostUnreachable`, `HostTimeout`, `HostRefused` or `IdentityChanged`."""

    async def inventory(self) -> Inventory:
        """Return a complete look at the host, or raise; never part of one."""
        ...

    async def domain(self, uuid: str) -> ObservedDomain | None:
        """Return the domain as it is now; None is the host's own word that there is none."""
        ...

    async def ensure_pool(self) -> None:
        """Start the host's pool when it is inactive; refused when there is none of its name."""
        ...

    async def refresh_pool(self) -> None:
        """Have the host look at the pool's files again, and start the pool if that stopped it."""
        ...

    async def volume(self, name: str) -> ObservedVolume | None:
        """Return the pool's volume of this name; None is the host's word that there is none."""
        ...

    async def inspect_base(self, name: str) -> BaseImage:
        """Return the golden image of this name, or refuse what must not be cloned, saying why."""
        ...

    async def create_overlay(self, name: str, base: BaseImage, capacity_mb: int) -> None:
        """Make an empty clone of `base`; an equal one that is there already is fine."""
        ...

    async def create_seed(self, name: str, iso: bytes) -> bool:
        """Store the seed's bytes as a volume; False when the host takes no uploads."""
        ...

    async def users_of(self, name: str) -> tuple[str, ...]:
        """Return the names of the domains that run on this volume: whose disk it is."""
        ...

    async def create_replica(self, name: str, image: NewReplica) -> bool:
        """Make an empty volume for an image's bytes, in place of any that is there.

        False when the host takes no bytes: then the volume has the image's shape and no content.
        """
        ...

    async def write_volume(self, name: str, offset: int, content: bytes) -> None:
        """Write a part of a volume's file."""
        ...

    async def read_volume(self, name: str, offset: int, length: int) -> bytes | None:
        """Return a part of a volume's file, less at its end; None when the host gives no bytes."""
        ...

    async def flatten_volume(self, source: str, name: str) -> None:
        """Make a volume of its own with all that a volume and its layers hold, in place of any."""
        ...

    async def delete_volume(self, name: str) -> None:
        """Delete the volume; one that is gone already is fine."""
        ...

    async def volumes_absent(self, names: Sequence[str]) -> bool:
        """Return whether a fresh look at the pool proves that none of these volumes exists."""
        ...

    async def define(self, plan: DomainPlan) -> None:
        """Define the domain with its mark and prove that the host understood it as planned."""
        ...

    async def start(self, uuid: str) -> None:
        """Start our domain; refused when there is none of this UUID or it is not ours."""
        ...

    async def shutdown(self, uuid: str) -> None:
        """Ask our domain's guest to shut down; nothing to do when it does not run."""
        ...

    async def power_off(self, uuid: str) -> None:
        """Stop our domain at once; nothing to do when it does not run."""
        ...

    async def resume(self, uuid: str) -> None:
        """Let our domain go on that the host paused after a failed write; nothing to do else."""
        ...

    async def take_snapshot(self, uuid: str, name: str) -> bool:
        """Keep our domain's disk inside itself, with the guest's memory if it runs.

        Return whether memory was kept.
        """
        ...

    async def revert_snapshot(self, uuid: str, name: str) -> None:
        """Bring our domain back to such a snapshot: running again if its memory was kept."""
        ...

    async def delete_snapshot(self, uuid: str, name: str) -> None:
        """Remove such a snapshot and no other; one that is gone already is fine."""
        ...

    async def live_layer(self, uuid: str) -> str | None:
        """Return the volume that our domain writes to; None when there is no domain."""
        ...

    async def settled_layer(self, uuid: str) -> str | None:
        """Return the same once no job is on our domain; raises ObjectBusy while one is.

        Before a layer is deleted: a call without an answer may be putting the guest on it.
        """
        ...

    async def create_layer(self, name: str, on: str) -> None:
        """Make an empty layer on one of our volumes; an equal one that is there is fine."""
        ...

    async def freeze(self, uuid: str, layer: str) -> bool:
        """Freeze our domain's disk: what its guest writes goes to this new layer from now on.

        Return whether the guest's agent held its file systems still. Of a domain that is off only
        the layer is made; `restate` puts it to use.
        """
        ...

    async def merge(self, uuid: str, lower: str, upper: str, *, runs: bool) -> bool:
        """Bring two layers of our domain's disk nearer to being one; return whether they are.

        Nothing but `upper` may lie on `lower`. When `upper` is live it takes up what `lower` holds
        and `lower` is out of use then; else `lower` takes up what `upper` holds, which is out of
        use. A domain that is off is left paused at its beginning, and is to be powered off; raises
        ObjectBusy when it `runs` for all that the caller knows. What a live one took up outlives a
        loss of the host's power only after `flush` or its end.
        """
        ...

    async def flush(self, uuid: str) -> bool:
        """Have what our domain's disk holds in memory written down; return whether it is.

        A guest that runs stands still for it. It is not while somebody keeps the domain paused.
        """
        ...

    async def restate(self, plan: DomainPlan) -> None:
        """Define our domain anew by this plan, even while it runs."""
        ...

    async def undefine(self, uuid: str) -> None:
        """Remove our stopped domain and all that libvirt keeps beside it."""
        ...

    async def addresses(self, uuid: str, mac: str, network: str) -> AddressReport:
        """Return the guest's address from the most trusted source that knows one."""
        ...

    async def listen(self, uuids: Collection[str]) -> Mapping[str, Heard]:
        """Listen to the consoles of these domains of ours, and to no other from now on.

        Return what each printed since this was last asked, also of those that are let go of now. A
        console that somebody else has is left to them. With nothing to listen to or to let go of
        the host is not asked.
        """
        ...

    async def foreign_machine(self, uuid: str) -> ForeignMachine | None:
        """Return a machine that is not ours, looked at and not touched; None for any other."""
        ...

    async def aclose(self) -> None:
        """Let go of the host; the driver cannot be used again."""
        ...
