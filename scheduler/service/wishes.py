"""What an owner may ask of a sandbox: pure rules from a record to the record they wish for.

A wish changes the desired state only; the proven state follows when a loop has made it so. A wish
that is fulfilled already returns the record itself, so asking twice is harmless.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from scheduler.errors import Conflict
from scheduler.lifecycle.alternates import only_built
from scheduler.lifecycle.expiry import run_anew
from scheduler.lifecycle.moving import unwished
from scheduler.model import DesiredState, Ending, Sandbox, SandboxState

Wish = Callable[[Sandbox, datetime], Sandbox]


def start(sandbox: Sandbox, now: datetime) -> Sandbox:
    """Wish it to run; raises `Conflict` when it has failed or is being destroyed."""
    _refuse_ending(sandbox, "started")
    if sandbox.state is SandboxState.ERROR:
        raise _conflict(
            sandbox, "started: it has failed", "look at its reason, then retry or delete it"
        )
    if sandbox.desired_state is DesiredState.RUNNING:
        return sandbox
    return _afresh(sandbox, DesiredState.RUNNING, now)


def stop(sandbox: Sandbox, now: datetime) -> Sandbox:
    """Wish it to be shut down and kept; raises `Conflict` when it is being destroyed."""
    _refuse_ending(sandbox, "stopped")
    if sandbox.desired_state is DesiredState.STOPPED:
        return sandbox
    return replace(
        sandbox,
        desired_state=DesiredState.STOPPED,
        attempts=0,
        retry_at=None,
    )


def destroy(sandbox: Sandbox, now: datetime) -> Sandbox:
    """Wish it gone with everything it holds."""
    if sandbox.desired_state is DesiredState.DESTROYED or not sandbox.live:
        return sandbox
    return replace(
        unwished(sandbox),
        desired_state=DesiredState.DESTROYED,
        attempts=0,
        retry_at=None,
        reason_code=Ending.DELETED,
        reason_message="its deletion was asked for",
    )


def retry(sandbox: Sandbox, now: datetime) -> Sandbox:
    """Wish a failed one to come up after all; raises `Conflict` unless it is in ERROR.

    One that was only to be built is built, and not started.
    """
    _refuse_ending(sandbox, "retried")
    if sandbox.state is not SandboxState.ERROR:
        raise _conflict(
            sandbox, "retried: it has not failed", "only a sandbox in state ERROR can be retried"
        )
    desired = DesiredState.STOPPED if only_built(sandbox) else DesiredState.RUNNING
    return _afresh(sandbox, desired, now)


def settled(sandbox: Sandbox) -> bool:
    """Return whether nothing further will happen to the sandbox by itself."""
    if sandbox.desired_state is DesiredState.DESTROYED:
        return not sandbox.live
    if sandbox.move_asked_at is not None:
        return False
    return sandbox.state.value == sandbox.desired_state.value or sandbox.state in (
        SandboxState.ERROR,
        SandboxState.DESTROYED,
    )


def _afresh(sandbox: Sandbox, desired: DesiredState, now: datetime) -> Sandbox:
    """Begin anew: attempts and the provisioning time are counted from now."""
    return replace(
        sandbox,
        desired_state=desired,
        attempts=0,
        retry_at=None,
        failed_hosts=(),
        queued_at=now,
        conditions=run_anew(sandbox, now),
    )


def _refuse_ending(sandbox: Sandbox, verb: str) -> None:
    if not sandbox.live:
        raise _conflict(sandbox, f"{verb}: it is destroyed", "create a new sandbox")
    if sandbox.desired_state is DesiredState.DESTROYED:
        raise _conflict(sandbox, f"{verb}: it is being destroyed", "create a new sandbox")


def _conflict(sandbox: Sandbox, what: str, remedy: str) -> Conflict:
    return Conflict(
        f"sandbox {sandbox.id} cannot be {what}",
        remedy=remedy,
        details={"state": sandbox.state.value, "desired_state": sandbox.desired_state.value},
    )
