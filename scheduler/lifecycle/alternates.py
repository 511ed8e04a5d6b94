"""When a sandbox that a host cannot bring up may come up on another one, and what is told of it.

Only one that was never up on what it is built from: nobody has been given its address, and nothing
is on its disk that was not in its image. What the old host may still hold is charged to it until
its absence is proven. One that was moved with its disk begins anew in that (see `moves`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from scheduler.lifecycle.expiry import endings
from scheduler.lifecycle.moving import unwished
from scheduler.lifecycle.steps import Become, Limits, Note, Relocate, Wait
from scheduler.model import (
    DesiredState,
    Ending,
    HostFailure,
    HostResources,
    Phase,
    Sandbox,
    SandboxState,
)

MOVED = "moved"
"""The reason of a sandbox that came to its host from another, until the next one is told."""

RETRIED = "retried"
"""The reason of a failed sandbox whose owner asked for another attempt, likewise."""

COMING_UP = frozenset({SandboxState.CREATED, SandboxState.STARTING})


def coming_up(sandbox: Sandbox) -> bool:
    """Return whether the sandbox was never up and is meant to be."""
    return (
        sandbox.state in COMING_UP
        and sandbox.running_at is None
        and sandbox.desired_state is not DesiredState.DESTROYED
    )


def only_built(sandbox: Sandbox) -> bool:
    """Return whether it was never up and its owner wants it built, not started."""
    return (
        (not sandbox.auto_start or sandbox.moved_at is not None)
        and sandbox.running_at is None
        and sandbox.desired_state is DesiredState.STOPPED
    )


def yet_to_be_built(sandbox: Sandbox) -> bool:
    """Return whether it was never up and nothing but a build is under way: nothing is lost then.

    As after a move or a retry. Told by what no wish writes: a drain and the end of a lease give
    their own reason to what they stop.
    """
    return sandbox.running_at is None and sandbox.phase in (None, Phase.BUILD)


def may_move(sandbox: Sandbox, limits: Limits) -> bool:
    """Return whether one more host may be tried after the present one."""
    return coming_up(sandbox) and len(sandbox.failed_hosts) + 1 < limits.build_hosts


def elsewhere(
    sandbox: Sandbox, limits: Limits, code: str, message: str, *, otherwise: Become | Note | Wait
) -> Relocate | Become | Note | Wait:
    """Return the order to leave this host for that reason, or `otherwise` where that is over."""
    if not may_move(sandbox, limits):
        return otherwise
    return Relocate(reason_code=code, reason_message=message, otherwise=otherwise)


def story(sandbox: Sandbox, message: str) -> str:
    """Return why its present host failed, with the reasons of those before."""
    if not sandbox.failed_hosts:
        return message
    before = "; ".join(f"{failed.host_name}: {failed.message}" for failed in sandbox.failed_hosts)
    return f"no host could bring it up: {before}; {sandbox.host_name}: {message}"


def arriving(sandbox: Sandbox) -> bool:
    """Return whether it was moved to its host and nothing is proven to be there yet."""
    return sandbox.reason_code == MOVED and sandbox.phase in (None, Phase.BUILD)


def stranded(step: Relocate, why: str) -> Become | Note | Wait:
    """Return what to do with a sandbox that no further host takes, for the reason given."""
    otherwise = step.otherwise
    if not isinstance(otherwise, Become):
        return otherwise
    message = f"{otherwise.reason_message}; no other host is tried: {why}"
    return replace(otherwise, reason_message=message)


def moved(
    sandbox: Sandbox,
    step: Relocate,
    *,
    to: HostResources,
    network: str,
    decision_id: str,
    now: datetime,
) -> Sandbox:
    """Return the record on its new host, where nothing was begun yet.

    Its time to come up goes on: it spans all hosts. Domain UUID and MAC are the sandbox's own, so
    they stay; what was seen of the old host's base volume says nothing of the new one's.
    """
    failure = HostFailure(
        host_id=sandbox.host_id or "",
        host_name=sandbox.host_name or "",
        reason_code=step.reason_code,
        message=step.reason_message,
        at=now,
    )
    return replace(
        rehosted(sandbox, to, now),
        network=network,
        decision_id=decision_id,
        # A disk that was moved has booted already, and trusts whom its first seed named.
        ssh_ca=sandbox.ssh_ca if sandbox.moved_at is not None else None,
        phase=None,
        phase_at=None,
        failed_hosts=(*sandbox.failed_hosts, failure),
        reason_code=MOVED,
        reason_message=f"{sandbox.host_name} failed it ({step.reason_message}); "
        f"placed on {to.name}, waiting to be built",
    )


def sent_back(sandbox: Sandbox, *, to: HostResources, lost: str, now: datetime) -> Sandbox:
    """Return the record on a host that it had left, where it is now to be destroyed.

    `lost` names the host it was on. The phase is written with it: a record without one says that
    its host was never asked for anything. What was told of the lost guest is no longer true.
    """
    return replace(
        rehosted(unwished(sandbox), to, now),
        desired_state=DesiredState.DESTROYED,
        phase=Phase.DESTROY,
        phase_at=now,
        reason_code=Ending.FORGOTTEN_ON_HOST,
        reason_message=f"what it held on {lost} was forgotten; it ends once nothing of it is left "
        f"on {to.name}",
    )


def rehosted(sandbox: Sandbox, to: HostResources, now: datetime) -> Sandbox:
    """Return the record on another host, without what was seen and tried on the one before.

    That its lease has ended is true wherever it is.
    """
    return replace(
        sandbox,
        host_id=to.id,
        host_name=to.name,
        host_address=to.address,
        base_fingerprint=None,
        ip_address=None,
        ip_source=None,
        ip_seen_at=None,
        ip_gateway=None,
        ssh_seen_at=None,
        attempts=0,
        retry_at=None,
        conditions=endings(sandbox),
        updated_at=now,
    )
