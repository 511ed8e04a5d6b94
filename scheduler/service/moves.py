"""Moves: a sandbox is wished on another host, and the wish may be taken back until it is there.

Whether there is a host is asked in memory first, so that no guest is shut down for nothing; the
wish is a part of the record, and the loops carry it out. A drain asks as an owner does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from scheduler.errors import Conflict, NotFound
from scheduler.lifecycle import moves, moving
from scheduler.model import (
    Allocation,
    Decision,
    Event,
    Image,
    ImageState,
    Resources,
    Sandbox,
    VirtType,
)
from scheduler.placement.demand import Demand
from scheduler.placement.documents import demand_of
from scheduler.service.images import condemned, given_up, image_event, replica_key
from scheduler.service.intents import Intent
from scheduler.service.lease_time import lease_time
from scheduler.service.revisions import check_revision
from scheduler.service.sandboxes import SandboxService, by_reference
from scheduler.store import Transaction

REQUESTED = "sandbox.move_requested"
CANCELLED = "sandbox.move_cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is asked of one sandbox."""

    reference: str
    to: str | None
    reason: str | None
    revision: int | None


class MovableSandboxes(SandboxService):
    """What owners do with their sandboxes, moving them included."""

    async def move(
        self,
        reference: str,
        intent: Intent[Sandbox],
        to: str | None = None,
        reason: str | None = None,
        *,
        expected_revision: int | None = None,
    ) -> Sandbox:
        """Wish a sandbox on another host, on the one named `to` if any; its guest is shut down.

        The same wish again returns the record; one that a drain had is its owner's from then on,
        and does not end with the drain. Raises `Conflict` for one that cannot be moved, or
        is wished elsewhere; `NotFound` for an unknown host; `CapacityExhausted` and
        `ConstraintImpossible`, with the stored decision's reasons, when no other host takes it.
        """
        asked = _Asked(reference=reference, to=to, reason=reason, revision=expected_revision)
        demand = await self._store.read(partial(self._new_demand, asked, intent))
        if demand is not None:
            choice = await self._fleet.choose(demand)
            if choice.chosen is None:
                raise await self._refused(choice)
        unit = partial(self._ask_move, asked, intent.actor)
        sandbox = await self._store.submit(intent.once(unit))
        self._committed(sandbox.id)
        return sandbox

    async def preview_move(
        self, reference: str, to: str | None = None, *, expected_revision: int | None = None
    ) -> Decision:
        """Return where a sandbox would move to, changing nothing; refuses as `move` would."""
        asked = _Asked(reference=reference, to=to, reason=None, revision=expected_revision)
        choice = await self._fleet.choose(await self._store.read(partial(self._demand, asked)))
        decision = self._decided(choice)
        if choice.chosen is None:
            raise self._refusal(decision, choice, stored=False)
        return decision

    async def cancel_move(
        self, reference: str, intent: Intent[Sandbox], *, expected_revision: int | None = None
    ) -> Sandbox:
        """Have a sandbox stay where it is, and its guest started again where it is to run.

        Raises `Conflict` when it is not being moved, or has been already.
        """

        unit = partial(self._cancel, reference, intent.actor, expected_revision)
        sandbox = await self._store.submit(intent.once(unit))
        self._committed(sandbox.id)
        return sandbox

    def _new_demand(self, asked: _Asked, intent: Intent[Sandbox], tx: Transaction) -> Demand | None:
        """Return what a new wish asks of another host; None when it is wished already."""
        intent.unused(tx)
        sandbox, is_new = self._checked(tx, asked)
        return demand_elsewhere(tx, sandbox, asked.to) if is_new else None

    def _demand(self, asked: _Asked, tx: Transaction) -> Demand:
        sandbox, _ = self._checked(tx, asked)
        return demand_elsewhere(tx, sandbox, asked.to)

    def _ask_move(self, asked: _Asked, actor: str, tx: Transaction) -> Sandbox:
        sandbox, is_new = self._checked(tx, asked)
        now = lease_time(tx, self._clock)
        if not is_new:
            return sandbox if sandbox.move_drain_id is None else _adopt(tx, sandbox, actor, now)
        return ask(tx, sandbox, to=asked.to, reason=asked.reason, actor=actor, now=now)

    def _checked(self, tx: Transaction, asked: _Asked) -> tuple[Sandbox, bool]:
        """Return the sandbox and whether the wish is new; raises where it cannot be granted."""
        sandbox = by_reference(asked.reference, tx)
        check_revision(f"sandbox {sandbox.sandbox_name}", sandbox.revision, asked.revision)
        if sandbox.move_asked_at is not None and moves.under_way(sandbox):
            if asked.to in (None, sandbox.move_to):
                return sandbox, False
            raise _refused(
                sandbox,
                f"it is being moved to {sandbox.move_to or 'another host'} already",
                "wait for that, or cancel it first: "
                f"sandboxctl move {sandbox.sandbox_name} --cancel",
            )
        if not self._takes_images:
            raise _refused(
                sandbox, "this daemon keeps no images, as which disks move", "delete it instead"
            )
        hindrance = moves.own_hindrance(sandbox)
        if hindrance is not None:
            raise _refused(sandbox, hindrance.message, hindrance.remedy, hindrance.code)
        here = tx.hosts.get(sandbox.host_id or "")
        hindrance = moves.hindrance(sandbox, here, tx.snapshots.of_sandbox(sandbox.id))
        if hindrance is not None:
            raise _refused(sandbox, hindrance.message, hindrance.remedy, hindrance.code)
        if asked.to is not None and tx.hosts.by_name(asked.to).id == here.id:
            raise _refused(sandbox, f"it is on {here.name} already", "name another host, or none")
        return sandbox, True

    def _cancel(
        self, reference: str, actor: str, expected_revision: int | None, tx: Transaction
    ) -> Sandbox:
        sandbox = by_reference(reference, tx)
        check_revision(f"sandbox {sandbox.sandbox_name}", sandbox.revision, expected_revision)
        if sandbox.move_asked_at is None:
            raise Conflict(
                f"sandbox {sandbox.id} is not being moved: it is on {sandbox.host_name}",
                remedy="nothing; a move that has been made is taken back by another move",
                details={"host_name": sandbox.host_name},
            )
        return call_off(tx, sandbox, why="requested", actor=actor, now=self._clock.now())


def ask(
    tx: Transaction,
    sandbox: Sandbox,
    *,
    to: str | None = None,
    reason: str | None,
    drain_id: str | None = None,
    actor: str,
    now: datetime,
) -> Sandbox:
    """Write the wish to move a sandbox, with its event."""
    apart = moves.asked_apart(sandbox, tx.images.of_owner(sandbox.id), now)
    wished = moving.wished(sandbox, to=to, reason=reason, drain_id=drain_id, now=apart)
    asked = tx.sandboxes.replace(wished, expected_generation=sandbox.generation)
    where = f"to {to}" if to is not None else f"away from {sandbox.host_name}"
    message = f"it is to move {where}: {reason}" if reason else f"it is to move {where}"
    evidence = {"from_host": sandbox.host_name, "to_host": to, "drain_id": drain_id}
    tx.events.add(_event(REQUESTED, asked, message, actor=actor, evidence=evidence, at=now))
    return asked


def _adopt(tx: Transaction, sandbox: Sandbox, actor: str, now: datetime) -> Sandbox:
    """Have a drain's wish be its owner's as well, with its event."""
    own = replace(sandbox, move_drain_id=None)
    asked = tx.sandboxes.replace(own, expected_generation=sandbox.generation)
    message = f"it is to move away from {sandbox.host_name}, whatever becomes of the drain"
    evidence = {"from_host": sandbox.host_name, "to_host": None, "drain_id": None}
    tx.events.add(_event(REQUESTED, asked, message, actor=actor, evidence=evidence, at=now))
    return asked


def call_off(tx: Transaction, sandbox: Sandbox, *, why: str, actor: str, now: datetime) -> Sandbox:
    """Take the wish to move a sandbox back, with its event.

    What was made of its image is of no use then, and let go by the image keeper.
    """
    stays = moving.cancelled(sandbox)
    kept = tx.sandboxes.replace(stays, expected_generation=sandbox.generation)
    message = f"it stays on {sandbox.host_name}: {why}"
    evidence = {"host": sandbox.host_name, "drain_id": sandbox.move_drain_id}
    tx.events.add(_event(CANCELLED, kept, message, actor=actor, evidence=evidence, at=now))
    return kept


def useless_images(tx: Transaction, sandbox_id: str) -> tuple[Image, ...]:
    """Return the images that carried a sandbox's disk and that nobody needs any more.

    Needed are those of the move under way, and those of which a live sandbox was made.
    """
    return tuple(
        image
        for image in tx.images.of_owner(sandbox_id)
        if image.state is not ImageState.REMOVING
        and not _carries(tx, image, sandbox_id)
        and not (image.own_digest is not None and tx.images.clones(image.own_digest))
    )


def _carries(tx: Transaction, image: Image, sandbox_id: str) -> bool:
    try:
        return moves.carries(image, tx.sandboxes.get(sandbox_id))
    except NotFound:
        return False  # it is not even a tombstone any more


def condemn(tx: Transaction, image: Image, *, now: datetime) -> tuple[str, ...]:
    """Have an image go, with every replica; return the keys of the loops that see to it."""
    tx.images.replace(given_up(image, now=now), expected=image.state)
    replicas = tx.replicas.of_image(image.id)
    for replica in replicas:
        tx.replicas.replace(condemned(replica, now=now))
    tx.events.add(image_event("image.let_go", image, "no sandbox moves by it any more", at=now))
    return (image.id, *map(replica_key, replicas))


def demand_elsewhere(
    tx: Transaction, sandbox: Sandbox, to: str | None, image: Image | None = None
) -> Demand:
    """Return what a sandbox asks of another host than its own, of the one named if any.

    Without an image its disk is not one yet: it takes at least as much as what it was made of.
    Where it was to be created is no wish of where it is to stay; what it was to be created beside
    is.
    """
    here = tx.hosts.get(sandbox.host_id or "")
    held = tx.allocations.of_sandbox(sandbox.id)
    claim = next(one for one in held if one.host_id == here.id)
    asked = _asked_first(tx, sandbox, claim)
    if here.proven_virt_type is not VirtType.TEST:
        asked = replace(
            asked,
            image=sandbox.base_image if image is None else image.name,
            image_digest="" if image is None else image.digest,
            image_mb=_least_mb(tx, sandbox) if image is None else image.size_mb,
        )
    return replace(
        asked,
        arch=here.arch,
        host=to,
        tried=tuple(sorted(tx.hosts.get(one.host_id).name for one in held)),
    )


def _asked_first(tx: Transaction, sandbox: Sandbox, claim: Allocation) -> Demand:
    """Return the demand by which it was placed, as large as it is; of a rebuilt one its record."""
    resources = Resources(
        vcpus=claim.vcpus, memory_mb=claim.memory_mb, storage_mb=sandbox.storage_mb
    )
    try:
        placed = demand_of(tx.decisions.get(sandbox.decision_id or "").demand)
    except NotFound:
        return Demand(
            resources=resources,
            image=sandbox.base_image,
            image_digest=sandbox.image_digest,
            network=sandbox.network,
            anti_affinity_group=claim.anti_affinity_group,
        )
    return replace(placed, resources=resources)


def _least_mb(tx: Transaction, sandbox: Sandbox) -> int:
    made_of = tx.images.of_digest(sandbox.image_digest or "")
    return max((image.size_mb for image in made_of), default=0)


def _refused(sandbox: Sandbox, why: str, remedy: str, code: str = "not_movable") -> Conflict:
    return Conflict(
        f"sandbox {sandbox.id} cannot be moved: {why}",
        remedy=remedy,
        details={
            "reason": code,
            "state": sandbox.state.value,
            "desired_state": sandbox.desired_state.value,
        },
    )


def _event(
    kind: str,
    sandbox: Sandbox,
    message: str,
    *,
    actor: str,
    evidence: Mapping[str, object],
    at: datetime,
) -> Event:
    return Event(
        at=at,
        kind=kind,
        actor=actor,
        sandbox_id=sandbox.id,
        host_id=sandbox.host_id,
        reason_code="requested",
        message=message,
        evidence=evidence,
    )
