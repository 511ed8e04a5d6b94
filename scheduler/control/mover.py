"""Takes a sandbox to another host with its disk: one thing a turn, by what is recorded.

A host is looked for before the guest is shut down; then the disk becomes an image, which the
ingestor sees to; and once that can be built from, one transaction claims a host and records the
sandbox there. Nothing on the old host is touched before that: it is cleared as any host that was
left. What is refused is noted, and tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from scheduler import ids
from scheduler.clock import Clock
from scheduler.control.relocator import Departure, Relocator, network_of
from scheduler.errors import HostRefused, StaleRevision
from scheduler.lifecycle import moves, moving, outcomes
from scheduler.model import (
    Decision,
    HostResources,
    Image,
    ImageState,
    Phase,
    Sandbox,
    SandboxState,
    VirtType,
)
from scheduler.placement.demand import Demand
from scheduler.service.images import image_event
from scheduler.service.lease_time import lease_time
from scheduler.service.moves import demand_elsewhere
from scheduler.service.sandbox_records import put
from scheduler.service.source_images import copy_volume
from scheduler.store import Store, Transaction

LONGEST_PAUSE_SECONDS = 300
"""Room is looked for, and a disk that was refused as an image copied again, this often at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """How far the move of one sandbox has come."""

    image: Image | None
    """What its disk has become: its own newest of this move, or the twin for which that was
    refused."""
    refused: int
    """How many images of this move were refused."""
    demand: Demand
    """What it asks of another host, with the image if that can be built from."""


class Mover:
    """The converger's way to another host that was asked for."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        relocator: Relocator,
        wake: Callable[[str], None],
    ) -> None:
        """Make it; `wake` tells the loop of an image."""
        self._store = store
        self._clock = clock
        self._relocator = relocator
        self._wake = wake

    async def move(self, sandbox: Sandbox, host: HostResources) -> bool:
        """Go on with a move; return whether there is more to do at once.

        Raises `HostRefused` for what was refused: it is tried again.
        """
        standing = await self._store.read(partial(_standing, sandbox))
        if sandbox.state is not SandboxState.STOPPED:
            await self._look_for_room(sandbox, standing)
            return True
        sandbox = await self._begun(sandbox)
        if host.proven_virt_type is VirtType.TEST:
            # Its disks hold no bytes: there is nothing that its image does not say.
            await self._go(sandbox, None, standing.demand)
            return True
        image = standing.image
        if image is None or (
            image.state is ImageState.REFUSED and sandbox.attempts >= standing.refused
        ):
            await self._look_for_room(sandbox, standing)
            taken = await self._store.submit(partial(self._freeze, sandbox, host, standing.refused))
            self._wake(taken.id)
            return False
        if image.state is ImageState.REFUSED:
            raise HostRefused(
                f"the disk of {sandbox.sandbox_name} was refused as an image: {image.reason}",
                remedy="it is tried again; cancel the move to have it run where it is",
            )
        if not image.usable:
            return False
        await self._go(sandbox, image, standing.demand)
        return True

    async def copies_anew(self, sandbox: Sandbox) -> bool:
        """Have what was copied of a disk until now be of no use; return whether there was any."""
        return await self._store.submit(partial(self._disown, sandbox))

    async def refused(self, sandbox_id: str, error: HostRefused) -> Sandbox:
        """Record what was refused of a move, and when to try again, if it is one still."""
        return await self._store.submit(partial(self._refused, sandbox_id, error.message))

    async def _look_for_room(self, sandbox: Sandbox, standing: _Standing) -> None:
        """Record that there is a host for it; raises `HostRefused` when there is none now."""
        why_not = await self._relocator.room(standing.demand)
        if why_not is not None:
            raise _without_room(sandbox, why_not)
        if sandbox.state is not SandboxState.STOPPED:
            await self._store.submit(partial(self._found, sandbox))

    async def _begun(self, sandbox: Sandbox) -> Sandbox:
        if sandbox.phase is Phase.MOVE:
            return sandbox
        return await self._store.submit(partial(self._begin, sandbox))

    async def _go(self, sandbox: Sandbox, image: Image | None, demand: Demand) -> None:
        what: tuple[str, str | None] = (sandbox.base_image, sandbox.image_digest)
        if image is not None:
            what = image.name, image.digest
        leaving = Departure(
            sandbox=sandbox,
            arrive=partial(_arrive, sandbox, what),
            evidence={"image": what[0], "image_digest": what[1]},
            check=partial(_check_usable, image),
        )
        why_not = await self._relocator.take(leaving, demand)
        if why_not is not None:
            raise _without_room(sandbox, why_not)

    def _begin(self, sandbox: Sandbox, tx: Transaction) -> Sandbox:
        return put(tx, sandbox, outcomes.begun(sandbox, Phase.MOVE, now=self._now(tx)))

    def _found(self, sandbox: Sandbox, tx: Transaction) -> Sandbox:
        _check_turn(tx, sandbox)
        return put(tx, sandbox, moving.found(sandbox, now=self._now(tx)))

    def _refused(self, sandbox_id: str, message: str, tx: Transaction) -> Sandbox:
        sandbox, now = tx.sandboxes.get(sandbox_id), self._now(tx)
        if not moves.under_way(sandbox):
            return sandbox
        # At once: a phase without a failure would say that there is room.
        begun = outcomes.begun(sandbox, Phase.MOVE, now=now)
        longest = LONGEST_PAUSE_SECONDS
        return put(tx, sandbox, outcomes.failed(begun, message, now=now, longest=longest))

    def _disown(self, sandbox: Sandbox, tx: Transaction) -> bool:
        """Date the wish anew, of whose moment the names of its images are made."""
        images, now = tx.images.of_owner(sandbox.id), self._now(tx)
        if not any(moves.carries(image, sandbox) for image in images):
            return False
        apart = moves.asked_apart(sandbox, images, now)
        put(tx, sandbox, replace(sandbox, move_asked_at=apart, updated_at=now))
        return True

    def _freeze(
        self, sandbox: Sandbox, host: HostResources, refused: int, tx: Transaction
    ) -> Image:
        """Record that its disk is to become an image, while it is as it was judged."""
        _check_turn(tx, sandbox)
        put(tx, sandbox, moving.copying(sandbox, refused, now=self._now(tx)))
        now = self._clock.now()
        taken = {one.name for one in tx.images.all() if one.state is not ImageState.REFUSED}
        names = moves.image_names(sandbox, sandbox.move_asked_at or now)
        name = next((one for one in names if one not in taken), None)
        if name is None:
            raise HostRefused(
                f"an image that is named {names[-1]} is there still",
                remedy="it is tried again; if it is not being removed, remove it",
            )
        image_id = ids.new_id(ids.Prefix.IMAGE)
        image = tx.images.add(
            Image(
                id=image_id,
                name=name,
                state=ImageState.FREEZING,
                source_host_id=host.id,
                source_volume=copy_volume(image_id),
                owner_sandbox_id=sandbox.id,
                actor=sandbox.agent_id,
                created_at=now,
                updated_at=now,
            )
        )
        whence = f"from the disk of {sandbox.sandbox_name} on {host.name}, which is to move"
        tx.events.add(image_event("image.taken", image, whence, at=now, host=host.id))
        return image

    def _now(self, tx: Transaction) -> datetime:
        return lease_time(tx, self._clock)


def _standing(sandbox: Sandbox, tx: Transaction) -> _Standing:
    made = [one for one in tx.images.of_owner(sandbox.id) if moves.carries(one, sandbox)]
    image = max(made, key=lambda one: (one.created_at, one.id), default=None)
    twin = None if image is None else _twin(tx, image)
    image = twin or image
    usable = image if image is not None and image.usable else None
    return _Standing(
        image=image,
        refused=sum(one.state is ImageState.REFUSED for one in made),
        demand=demand_elsewhere(tx, sandbox, sandbox.move_to, usable),
    )


def _twin(tx: Transaction, image: Image) -> Image | None:
    """Return the image whose twin one was refused as; only such a refusal tells its digest."""
    if image.state is not ImageState.REFUSED or image.digest is None:
        return None
    others: Collection[Image] = tx.images.of_digest(image.digest)
    return next((one for one in others if one.usable), None)


def _arrive(
    sandbox: Sandbox,
    image: tuple[str, str | None],
    host: HostResources,
    decision: Decision,
    now: datetime,
) -> Sandbox:
    return moves.arrived(
        sandbox,
        to=host,
        network=network_of(decision, host),
        decision_id=decision.id,
        image=image,
        now=now,
    )


def _check_usable(image: Image | None, tx: Transaction) -> None:
    """Raise `StaleRevision` for an image that somebody wants gone: it is looked for anew."""
    if image is not None and not tx.images.get(image.id).usable:
        raise StaleRevision(f"image {image.name} is being removed", remedy="judge it anew")


def _check_turn(tx: Transaction, sandbox: Sandbox) -> None:
    """Raise `HostRefused` while as many leave its host as may at a time."""
    if not moves.has_turn(sandbox, tx.sandboxes.of_host(sandbox.host_id or "")):
        raise HostRefused(
            f"{sandbox.sandbox_name} waits for its turn: {moves.MOST_AT_ONCE} at a time leave "
            f"{sandbox.host_name}",
            remedy="it is tried again",
        )


def _without_room(sandbox: Sandbox, why_not: str) -> HostRefused:
    return HostRefused(
        f"no other host takes {sandbox.sandbox_name} now: {why_not}",
        remedy="make room on one, or cancel the move; it is tried again",
    )
