"""Sandboxes: create, ask, wish. A request is done when its intent is durable.

Creating decides in memory and commits the claim, the record, the decision, the event and the kept
answer in one unit of work; the guard in the store has the last word on room, so a refused claim is
decided again. Everything else is a wish on one record (see `wishes`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from scheduler import ids
from scheduler.clock import Clock
from scheduler.errors import (
    CapacityExhausted,
    Conflict,
    Draining,
    Invalid,
    NotFound,
    QuotaExceeded,
    SandboxdError,
)
from scheduler.lifecycle import expiry
from scheduler.lifecycle.alternates import RETRIED
from scheduler.model import Allocation, Decision, Event, OnExpire, Sandbox, SandboxState, Volume
from scheduler.placement.choice import Choice
from scheduler.placement.documents import decision_of
from scheduler.service import wishes
from scheduler.service.admission import Admission, admit, demand_of, ttl_of
from scheduler.service.catalogue import Catalogue
from scheduler.service.fleet import FleetView
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.lease_time import lease_time
from scheduler.service.refusals import refusal_of
from scheduler.service.requests import CreateSandbox
from scheduler.service.revisions import check_revision
from scheduler.service.source_images import clone_of
from scheduler.service.terms import Terms
from scheduler.store import ListOptions, Page, SandboxFilter, Store, Transaction

TRIES = 5
"""How often a creation is decided anew because the store refused the claim."""
_ID = f"{ids.Prefix.SANDBOX.value}-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a sandbox holds, and what destroying it would therefore remove."""

    sandbox: Sandbox
    allocations: tuple[Allocation, ...]
    volumes: tuple[Volume, ...]


class SandboxService:
    """What owners do with their sandboxes; `wake` tells the converging loop of a sandbox."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        terms: Terms,
        catalogue: Catalogue,
        fleet: FleetView,
        journal: Journal,
        takes_images: bool,
        wake: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._terms = terms
        self._catalogue = catalogue
        self._fleet = fleet
        self._journal = journal
        self._takes_images = takes_images
        self._wake = wake

    async def create(self, request: CreateSandbox, intent: Intent[Sandbox]) -> Sandbox:
        """Place and record a new sandbox, and have it built.

        Raises `CapacityExhausted` or `ConstraintImpossible` with the stored decision's reasons,
        `AlreadyExists` for a name in use, `QuotaExceeded`, `Invalid`.
        """
        self._check_end(request)
        request = await self._of_image(request)
        demand = demand_of(request, self._terms, self._catalogue)
        for tried in range(TRIES):
            if tried > 1:
                # One row was not all that memory lacked.
                await self._fleet.reload()
            choice = await self._fleet.choose(demand)
            if choice.chosen is None:
                raise await self._refused(choice)
            sandbox = await self._claim(request, choice, choice.chosen.host_id, intent)
            if sandbox is not None:
                self._committed(sandbox.id)
                return sandbox
        raise CapacityExhausted(
            f"the room that was found was taken by others {TRIES} times in a row",
            remedy="try again",
            details={"retry_after": 1},
        )

    async def preview(self, request: CreateSandbox) -> Decision:
        """Return the decision that creating would store, changing nothing; refuses as it would."""
        self._check_end(request)
        request = await self._of_image(request)
        choice = await self._fleet.choose(demand_of(request, self._terms, self._catalogue))
        decision = self._decided(choice)
        if choice.chosen is None:
            raise self._refusal(decision, choice, stored=False)
        return decision

    async def get(self, reference: str) -> Sandbox:
        """Return a sandbox by its id, destroyed ones too, or by its name; raises `NotFound`."""
        return await self._store.read(partial(by_reference, reference))

    async def find(
        self, wanted: SandboxFilter, options: ListOptions, *, host: str | None = None
    ) -> Page[Sandbox]:
        """Return a page of sandboxes, of one host by its name if given."""

        def unit(tx: Transaction) -> Page[Sandbox]:
            if host is None:
                return tx.sandboxes.find(wanted, options)
            there = replace(wanted, host_id=tx.hosts.by_name(host).id)
            return tx.sandboxes.find(there, options)

        return await self._store.read(unit)

    async def decision(self, reference: str) -> Decision:
        """Return why a sandbox is where it is; raises `NotFound`."""

        def unit(tx: Transaction) -> Decision:
            sandbox = by_reference(reference, tx)
            if sandbox.decision_id is None:
                raise NotFound(f"no decision is recorded for sandbox {sandbox.id}")
            return tx.decisions.get(sandbox.decision_id)

        return await self._store.read(unit)

    async def holdings(self, reference: str, *, expected_revision: int | None = None) -> Holdings:
        """Return everything a sandbox holds."""

        def unit(tx: Transaction) -> Holdings:
            sandbox = _at_revision(reference, expected_revision, tx)
            return Holdings(
                sandbox=sandbox,
                allocations=tuple(tx.allocations.of_sandbox(sandbox.id)),
                volumes=tuple(tx.volumes.of_owner(sandbox.id)),
            )

        return await self._store.read(unit)

    async def start(
        self, reference: str, intent: Intent[Sandbox], *, expected_revision: int | None = None
    ) -> Sandbox:
        """Wish a stopped sandbox to run."""
        return await self._wish(
            reference, intent, (wishes.start, "sandbox.start_requested"), expected_revision
        )

    async def stop(
        self, reference: str, intent: Intent[Sandbox], *, expected_revision: int | None = None
    ) -> Sandbox:
        """Wish a sandbox to be shut down, gracefully first; it keeps what it holds."""
        return await self._wish(
            reference, intent, (wishes.stop, "sandbox.stop_requested"), expected_revision
        )

    async def destroy(
        self, reference: str, intent: Intent[Sandbox], *, expected_revision: int | None = None
    ) -> Sandbox:
        """Wish a sandbox gone, with everything it holds."""
        return await self._wish(
            reference, intent, (wishes.destroy, "sandbox.destroy_requested"), expected_revision
        )

    async def extend(
        self,
        reference: str,
        ttl_seconds: int,
        intent: Intent[Sandbox],
        *,
        expected_revision: int | None = None,
    ) -> Sandbox:
        """Let a sandbox live `ttl_seconds` from now, never shorter than it would have."""
        longest = self._terms.max_ttl_seconds

        def wish(sandbox: Sandbox, now: datetime) -> Sandbox:
            return expiry.extend(sandbox, ttl_seconds, now, longest)

        return await self._wish(reference, intent, (wish, "sandbox.extended"), expected_revision)

    async def retry(
        self, reference: str, intent: Intent[Sandbox], *, expected_revision: int | None = None
    ) -> Sandbox:
        """Bring a failed sandbox up again, counting attempts and time anew."""

        def unit(tx: Transaction) -> Sandbox:
            now = lease_time(tx, self._clock)
            sandbox = _at_revision(reference, expected_revision, tx)
            tx.sandboxes.replace(wishes.retry(sandbox, now), expected_generation=sandbox.generation)
            return tx.sandboxes.transition(
                sandbox.id,
                SandboxState.ERROR,
                SandboxState.STARTING,
                at=now,
                actor=intent.actor,
                reason_code=RETRIED,
                reason_message="its owner asked for another attempt",
            )

        sandbox = await self._store.submit(intent.once(unit))
        self._committed(sandbox.id)
        return sandbox

    async def wait(self, sandbox_id: str, seconds: float) -> Sandbox:
        """Return the sandbox once it is settled, or as it is when `seconds` are over."""
        return await self._journal.until(lambda: self.get(sandbox_id), wishes.settled, seconds)

    async def _of_image(self, request: CreateSandbox) -> CreateSandbox:
        """Return the request with the image of its source VM, if it asks for one."""
        if request.source_vm is None:
            return request
        image, source = await self._store.read(partial(clone_of, request))
        title = f"{source.host_name}/{source.name}"
        return request.model_copy(update={"base_image": image.name, "source_vm": title})

    async def _refused(self, choice: Choice) -> SandboxdError:
        """Store why nobody took the demand and return it as an error."""
        decision = self._decided(choice)
        await self._store.submit(lambda tx: tx.decisions.add(decision))
        return self._refusal(decision, choice, stored=True)

    def _refusal(self, decision: Decision, choice: Choice, *, stored: bool) -> SandboxdError:
        return refusal_of(
            decision,
            choice.smallest_change,
            stored=stored,
            retry_after_seconds=self._terms.retry_after_seconds,
        )

    def _decided(self, choice: Choice) -> Decision:
        return decision_of(
            choice,
            id=ids.new_id(ids.Prefix.DECISION),
            sandbox_id=None,
            at=self._clock.now(),
        )

    async def _claim(
        self, request: CreateSandbox, choice: Choice, host_id: str, intent: Intent[Sandbox]
    ) -> Sandbox | None:
        """Commit what was chosen; None when the store refused, so that it is to be chosen anew."""
        now = self._clock.now()
        host = self._fleet.record(host_id)
        admission = admit(request, self._terms, choice=choice, host=host, now=now)
        charge = self._fleet.charge(host_id, choice.demand)
        committed = False
        try:
            sandbox = await self._store.submit(
                intent.once(partial(self._record, admission, intent.actor))
            )
            committed = True
        except (Conflict, Draining):
            await self._fleet.reread(host_id)
            return None
        finally:
            self._fleet.settle(charge, committed=committed)
        return sandbox

    def _record(self, admission: Admission, actor: str, tx: Transaction) -> Sandbox:
        sandbox = replace(admission.sandbox, queued_at=lease_time(tx, self._clock))
        self._check_quota(tx, sandbox.agent_id)
        # First, because a claim refused before anything was written spoils nobody else's commit.
        tx.allocations.claim(admission.claim)
        _check_image(tx, sandbox)
        tx.sandboxes.add(sandbox)
        if admission.user_data is not None:
            tx.user_data.add(sandbox.id, admission.user_data)
        tx.decisions.add(admission.decision)
        tx.events.add(
            Event(
                at=sandbox.created_at,
                kind="sandbox.created",
                actor=actor,
                sandbox_id=sandbox.id,
                host_id=sandbox.host_id,
                reason_code=sandbox.reason_code,
                message=sandbox.reason_message or "",
                evidence={"decision_id": admission.decision.id},
            )
        )
        return sandbox

    def _check_end(self, request: CreateSandbox) -> None:
        """Raise `Invalid` for an end that this daemon does not give to sandboxes."""
        ttl_of(request, self._terms)
        if request.on_expire is OnExpire.IMAGE and not self._takes_images:
            raise Invalid(
                "this daemon keeps no images, so no sandbox can end as one",
                remedy="ask for on_expire destroy or stop",
                details={"on_expire": "image is not possible here"},
            )

    def _check_quota(self, tx: Transaction, agent_id: str) -> None:
        most = self._terms.max_sandboxes_per_agent
        if most is None:
            return
        if tx.sandboxes.are_as_many(SandboxFilter(agent_id=agent_id), most):
            raise QuotaExceeded(
                f"agent {agent_id} has as many sandboxes as it may have: {most}",
                remedy="delete one, or have the limit per agent raised in the configuration",
                details={"limit": most},
            )

    async def _wish(
        self,
        reference: str,
        intent: Intent[Sandbox],
        wished: tuple[wishes.Wish, str],
        expected_revision: int | None,
    ) -> Sandbox:
        unit = partial(
            self._grant, reference, wished, actor=intent.actor, expected_revision=expected_revision
        )
        sandbox = await self._store.submit(intent.once(unit))
        self._committed(sandbox.id)
        return sandbox

    def _grant(
        self,
        reference: str,
        wished: tuple[wishes.Wish, str],
        tx: Transaction,
        *,
        actor: str,
        expected_revision: int | None,
    ) -> Sandbox:
        wish, kind = wished
        now = self._clock.now()
        before = _at_revision(reference, expected_revision, tx)
        after = wish(before, lease_time(tx, self._clock))
        if after is not before:
            after = tx.sandboxes.replace(after, expected_generation=before.generation)
            tx.events.add(_wished(before, after, kind=kind, actor=actor, at=now))
        return after

    def _committed(self, sandbox_id: str) -> None:
        self._journal.poke()
        self._wake(sandbox_id)


def _check_image(tx: Transaction, sandbox: Sandbox) -> None:
    """Raise `NotFound` unless the image may still be built from; memory may lag behind."""
    digest = sandbox.image_digest
    if digest is not None and not tx.images.by_reference(digest).usable:
        raise NotFound(
            f"image {sandbox.base_image} is being removed",
            remedy="name another one: sandboxctl image list",
        )


def by_reference(reference: str, tx: Transaction) -> Sandbox:
    """Return a sandbox by id or name; ids begin in upper case, so one text is never both."""
    if reference.startswith(_ID):
        return tx.sandboxes.get(reference)
    return tx.sandboxes.by_name(reference)


def _at_revision(reference: str, expected: int | None, tx: Transaction) -> Sandbox:
    sandbox = by_reference(reference, tx)
    check_revision(f"sandbox {sandbox.sandbox_name}", sandbox.revision, expected)
    return sandbox


def _wished(before: Sandbox, after: Sandbox, *, kind: str, actor: str, at: datetime) -> Event:
    return Event(
        at=at,
        kind=kind,
        actor=actor,
        sandbox_id=after.id,
        host_id=after.host_id,
        reason_code="requested",
        message=f"desired state {before.desired_state} -> {after.desired_state}",
        evidence={
            "state": after.state.value,
            "expires_at": after.expires_at.isoformat() if after.expires_at else None,
        },
    )
