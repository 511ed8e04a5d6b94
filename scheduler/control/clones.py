"""The clones that change sets are verified on: made as the sandbox was, and given time to boot.

What a sandbox was given at its birth is no part of a change: code that builds on a user of its user
data would fail on a clone without, and be blamed for it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from pydantic import ValidationError

from scheduler.errors import GuestUnreachable, Invalid, NotFound
from scheduler.guests.first_boot import FirstBoot
from scheduler.model import ChangeSet, Readiness, Sandbox, SandboxState, VerificationResult
from scheduler.service.intents import Intent
from scheduler.service.requests import CreateSandbox
from scheduler.store import Transaction

LEASE_SECONDS = 3600
BOOT_SECONDS = 1200
"""How long cloud-init may be at work in a clone; what is left of the lease is for the play.

Counted from the first look of this daemon, by a clock that nobody sets: one that is started again
counts anew, and the lease ends a clone whatever is counted.
"""
LABEL = "sandboxd/verifies"


class Clones(Protocol):
    """Where clones come from: the service that everybody's sandboxes come from."""

    async def create(self, request: CreateSandbox, intent: Intent[Sandbox], /) -> Sandbox:
        """Place and record a sandbox."""
        ...

    async def get(self, reference: str, /) -> Sandbox:
        """Return one by id or name."""
        ...

    async def destroy(self, reference: str, intent: Intent[Sandbox], /) -> Sandbox:
        """Wish one gone."""
        ...


def origin_of(change_set: ChangeSet, tx: Transaction) -> tuple[Sandbox, str | None]:
    """Return the sandbox that a change set comes from, with its user data.

    Raises `NotFound` where the text is gone, as it is with a sandbox that was destroyed: a clone
    without it would be another machine.
    """
    origin = tx.sandboxes.get(change_set.sandbox_id)
    if origin.moved_at is not None and _compared_at(change_set, tx) < origin.moved_at:
        raise NotFound(
            f"what {origin.id} was made of went with its move at {origin.moved_at:%Y-%m-%d %H:%M} "
            "UTC, and its image has the changes already",
            remedy="verify change sets before the sandbox moves",
        )
    user_data = tx.user_data.get(origin.id)
    if origin.user_data_bytes is not None and user_data is None:
        raise NotFound(
            f"the user data of {origin.id} is gone, and no clone is what it was without it",
            remedy="verify change sets while the sandbox that they come from is there",
        )
    return origin, user_data


def _compared_at(change_set: ChangeSet, tx: Transaction) -> datetime:
    """Return when the snapshots were compared of which the code was made: they were there then."""
    return tx.diffs.get(change_set.diff_id).created_at


def request_of(
    origin: Sandbox, user_data: str | None, change_set: ChangeSet, name: str
) -> CreateSandbox:
    """Return the request for a sandbox as the original was when it was fresh.

    Raises `Invalid` for what this version takes no more; what it was is not repeated.
    """
    try:
        return CreateSandbox(
            base_image=origin.image_digest or origin.base_image,
            network=origin.network,
            vcpus=origin.vcpus,
            memory_mb=origin.memory_mb,
            storage_mb=origin.storage_mb,
            agent_id=origin.agent_id,
            job_id=origin.job_id,
            sandbox_name=name,
            ttl_seconds=LEASE_SECONDS,
            labels={LABEL: change_set.id},
            ssh_public_keys=list(origin.ssh_public_keys),
            user_data=user_data,
            isolation=origin.isolation,
            ready=Readiness.SSH,
        )
    except ValidationError as error:
        (where, *_) = (one["loc"][0] for one in error.errors(include_input=False))
        raise Invalid(
            f"no sandbox could be created as {origin.id} was: this version refuses its {where}",
            remedy="have the change made in a sandbox of this version",
        ) from None


def will_run(clone: Sandbox) -> bool:
    """Return whether a clone is still coming up; raises `GuestUnreachable` for one that is not."""
    if clone.state in (SandboxState.CREATED, SandboxState.STARTING):
        return True
    if clone.state is not SandboxState.RUNNING:
        raise GuestUnreachable(
            f"the clone {clone.id} is {clone.state}: {clone.reason_message or 'no reason'}"
        )
    return False


def is_late(seconds: float) -> bool:
    """Return whether a clone that was seen at its first boot so long ago takes too long for it."""
    return seconds > BOOT_SECONDS


def has_booted(clone: Sandbox, boot: FirstBoot, seconds: float) -> bool:
    """Return whether a clone is as its user data makes it, first seen at that so long ago.

    Raises `GuestUnreachable` for one that takes too long.
    """
    if boot is not FirstBoot.RUNNING:
        return True
    if is_late(seconds):
        raise GuestUnreachable(
            f"cloud-init is still at work in the clone {clone.id} after {BOOT_SECONDS} s"
        )
    return False


def judged(
    result: VerificationResult, reason: str | None, boot: FirstBoot
) -> tuple[VerificationResult, str | None]:
    """Return what comes out: where cloud-init failed, a failure says nothing of the code."""
    if result is VerificationResult.FAILED and boot is FirstBoot.FAILED:
        doubt = f"cloud-init failed in the clone, which may be all that is wrong: {reason}"
        return VerificationResult.ERROR, doubt
    return result, reason
