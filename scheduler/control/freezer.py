"""Makes an image of a source VM, or of a sandbox that moves: a flattened copy on its host.

The copy is listed as the image's own before it is made, taken in, and let go. The machine itself is
only looked at: nothing of it is written, started or stopped. A copy that was cut short is made
anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from scheduler.clock import Clock
from scheduler.control.copies import charge_copy
from scheduler.control.source_places import machine_of, origin_of
from scheduler.errors import GuestError, HostRefused
from scheduler.hosts.driver import HostDriver
from scheduler.lifecycle import layers, moves
from scheduler.model import (
    DomainState,
    HostResources,
    Image,
    ImageState,
    ObservedVolume,
    Sandbox,
    SandboxState,
    SourceVM,
    Volume,
    VolumeRole,
)
from scheduler.model.images import MIB
from scheduler.service.images import image_event
from scheduler.service.source_images import known_source
from scheduler.sources.frozen import Frozen, NotFrozen, frozen_disk, unchanged
from scheduler.store import Store, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """A sandbox that moves, and the layer from which all of its disk is read."""

    sandbox: Sandbox
    host: HostResources
    frozen: Frozen


class Freezer:
    """The ingestor's way from a machine's disk to a volume that it can take in."""

    def __init__(
        self, store: Store, clock: Clock, *, drivers: Callable[[HostResources], HostDriver]
    ) -> None:
        self._store = store
        self._clock = clock
        self._drivers = drivers

    async def freeze(self, image: Image) -> Image:
        """Return the image once its volume holds all of it; raises `HostRefused`, which is final.

        Another host error means that it is tried again.
        """
        if image.owner_sandbox_id is not None:
            return await self._freeze_own(image)
        source, host = await self._store.read(partial(_place, image))
        driver = self._drivers(host)
        try:
            before = await machine_of(driver, host, source)
        except GuestError as error:
            raise HostRefused(error.message, remedy=error.remedy) from error
        frozen = frozen_disk(before, source)
        if isinstance(frozen, NotFrozen):
            raise HostRefused(frozen.reason, remedy=frozen.remedy)
        await self._check_idle(driver, host, frozen)
        image = await self._copy(image, host, frozen)
        await self._check_idle(driver, host, frozen)
        if not unchanged(before, await driver.foreign_machine(before.uuid), frozen):
            raise HostRefused(
                f"{image.source_vm} was started or changed while its disk was copied",
                remedy="leave it shut down until the image is there, and freeze it again",
            )
        return await self._copied(image, host, frozen)

    async def _freeze_own(self, image: Image) -> Image:
        """Return the image of a sandbox's disk, likewise."""
        own = await self._store.read(partial(_own_disk, image))
        driver = self._drivers(own.host)
        before = await self._at_rest(driver, own)
        image = await self._copy(image, own.host, own.frozen)
        if await self._at_rest(driver, own) != before:
            raise HostRefused(
                f"the disk of {own.sandbox.sandbox_name} was written to while it was copied",
                remedy="leave it to its move: it is copied again",
            )
        return await self._copied(image, own.host, own.frozen)

    async def _copy(self, image: Image, host: HostResources, frozen: Frozen) -> Image:
        """List and charge the copy, and have it made."""
        image = await self._store.submit(partial(self._begin, image, host, frozen))
        driver = self._drivers(host)
        await driver.ensure_pool()
        await driver.flatten_volume(frozen.volume, image.source_volume or "")
        return image

    async def _copied(self, image: Image, host: HostResources, frozen: Frozen) -> Image:
        """Record that the copy is whole."""
        return await self._store.submit(partial(self._frozen, image, host, frozen))

    async def _at_rest(self, driver: HostDriver, own: _Own) -> ObservedVolume | None:
        """Return how the disk is while nobody writes to it; raises `HostRefused` while they do."""
        domain = await driver.domain(own.sandbox.domain_uuid or "")
        if domain is None or domain.state not in (DomainState.SHUT_OFF, DomainState.CRASHED):
            raise HostRefused(
                f"the domain of {own.sandbox.sandbox_name} is not off",
                remedy="leave it to its move: it is shut down, and its disk is copied again",
            )
        await self._check_idle(driver, own.host, own.frozen)
        return await driver.volume(own.frozen.volume)

    async def clear(self, image: Image) -> None:
        """Remove the copy once nothing needs it any more."""
        if not image.copied:
            return
        for volume in await self._store.read(lambda tx: copies_of(tx, image)):
            driver = self._drivers(await self._store.read(partial(_host_of, volume)))
            await driver.ensure_pool()
            await driver.delete_volume(volume.name)
            if not await driver.volumes_absent([volume.name]):
                raise HostRefused(f"the volume {volume.name} is there still")
            await self._store.submit(partial(self._gone, volume))

    async def _check_idle(self, driver: HostDriver, host: HostResources, frozen: Frozen) -> None:
        users = await driver.users_of(frozen.volume)
        if users:
            named = ", ".join(ascii(name) for name in users[:5])
            raise HostRefused(
                f"volume {frozen.volume} of {host.name} is the disk of a running machine: {named}",
                remedy="shut it down, and freeze it again",
            )

    def _begin(self, image: Image, host: HostResources, frozen: Frozen, tx: Transaction) -> Image:
        """Charge the host with the room that the copy may take, and list the copy.

        The room is recorded with the image, so that each look at the host charges it again. A disk
        that grew between two tries is charged what it grew by.
        """
        now, name = self._clock.now(), image.source_volume or ""
        listed = any(volume.name == name for volume in tx.volumes.of_owner(image.id))
        charged_mb = (image.virtual_bytes or 0) // MIB if listed else 0
        if frozen.capacity_mb > charged_mb:
            what = f"a copy of the disk of {image.source_vm or image.owner_sandbox_id}"
            remedy = "make room there, and freeze it again"
            more_mb = frozen.capacity_mb - charged_mb
            charge_copy(tx, host, more_mb, what, remedy=remedy, at=now)
        if not listed:
            tx.volumes.add(
                Volume(
                    owner=image.id,
                    host_id=host.id,
                    pool=host.pool,
                    name=name,
                    role=VolumeRole.IMAGE,
                    created_at=now,
                )
            )
        room_mb = max(charged_mb, frozen.capacity_mb)
        begun = replace(image, virtual_bytes=room_mb * MIB, updated_at=now)
        return tx.images.replace(begun, expected=ImageState.FREEZING)

    def _frozen(self, image: Image, host: HostResources, frozen: Frozen, tx: Transaction) -> Image:
        now = self._clock.now()
        if image.owner_sandbox_id is not None:
            _own_disk(image, tx)  # a move that is over may have had its guest started meanwhile
        tx.volumes.mark_created(host.id, host.pool, image.source_volume or "")
        copied = replace(image, state=ImageState.FETCHING, reason=None, updated_at=now)
        message = f"{frozen.what} was copied on {host.name}"
        tx.events.add(image_event("image.frozen", copied, message, at=now, host=host.id))
        return tx.images.replace(copied, expected=ImageState.FREEZING)

    def _gone(self, volume: Volume, tx: Transaction) -> None:
        tx.volumes.remove(volume.host_id, volume.pool, volume.name)


def copies_of(tx: Transaction, image: Image) -> tuple[Volume, ...]:
    """Return the copies that an image was, or is to be, taken in from."""
    if not image.copied:
        return ()
    listed = tx.volumes.of_owner(image.id)
    return tuple(volume for volume in listed if volume.name == image.source_volume)


def _host_of(volume: Volume, tx: Transaction) -> HostResources:
    return tx.hosts.get(volume.host_id)


def _own_disk(image: Image, tx: Transaction) -> _Own:
    """Return what is to be copied; `HostRefused`, which is final, once the move is over."""
    host = origin_of(image, tx)
    sandbox = tx.sandboxes.get(image.owner_sandbox_id or "")
    live = layers.live(tx.volumes.of_sandbox(sandbox))
    stands = moves.under_way(sandbox) and moves.carries(image, sandbox)
    if not stands or sandbox.host_id != host.id or sandbox.state is not SandboxState.STOPPED:
        raise HostRefused(f"{sandbox.sandbox_name} is not to move any more, or runs again")
    if live is None:
        raise HostRefused(
            f"no disk of {sandbox.sandbox_name} is listed on {host.name}",
            remedy="it is kept as it is; look at its volumes on the host",
        )
    what = f"the disk of {sandbox.sandbox_name} while it is off"
    frozen = Frozen(volume=live.name, capacity_mb=sandbox.storage_mb, what=what)
    return _Own(sandbox=sandbox, host=host, frozen=frozen)


def _place(image: Image, tx: Transaction) -> tuple[SourceVM, HostResources]:
    host = origin_of(image, tx)
    return known_source(tx, image.source_vm or ""), host
