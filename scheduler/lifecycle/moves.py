"""A sandbox that is moved to another host with its disk: who may, what is next, what is recorded.

Pure. The guest is shut down, its disk copied whole as an image that belongs to the sandbox, and the
record taken to a host where it is built of that image. What its owner wants of it (`desired_state`)
says nothing of the move, and is wanted of it there; whatever ends it ends the move too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.lifecycle.alternates import MOVED, rehosted
from scheduler.lifecycle.captures import ended_at, stamped_names
from scheduler.lifecycle.expiry import run_anew
from scheduler.lifecycle.moving import unwished
from scheduler.lifecycle.rules import Case, Look, backing_off, look_of, rest
from scheduler.lifecycle.steps import Clear, ConditionKind, Move, PowerOff, ShutDown, Step
from scheduler.model import (
    DesiredState,
    HostHealth,
    HostResources,
    Image,
    ImageState,
    Phase,
    Sandbox,
    SandboxState,
    Snapshot,
)

MOST_AT_ONCE = 2
"""So many sandboxes at a time leave one host that is drained: their copies share its disks."""

_UP_OR_OFF = frozenset({SandboxState.RUNNING, SandboxState.STOPPED})
_OFF = frozenset({Look.SHUT_OFF, Look.CRASHED})
_ON = frozenset({Look.RUNNING, Look.PAUSED, Look.STORAGE_FULL})
_MOST_NAMED = 5
_APART = timedelta(seconds=1)
"""Names are made of the second in which a move was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindrance:
    """Why a sandbox cannot be moved now, and what its owner may do about it."""

    code: str
    message: str
    remedy: str
    passing: bool = False
    """It will be over by itself."""


def under_way(sandbox: Sandbox) -> bool:
    """Return whether a sandbox is to be moved, and nothing has been asked that goes before it.

    Its end does, and so does the image that its lease ends as.
    """
    return (
        sandbox.move_asked_at is not None
        and sandbox.state in _UP_OR_OFF
        and sandbox.desired_state is not DesiredState.DESTROYED
        and ended_at(sandbox) is None
    )


def next_step(case: Case, coming_down: Step) -> Step:
    """Return the step for one that is to be moved; `coming_down` is that of one to be stopped.

    A guest is shut down only once a host was found for it.
    """
    sandbox, look = case.sandbox, look_of(case.seen)
    off = sandbox.state is SandboxState.STOPPED and look in _OFF
    if off or (look in _ON and not _found(sandbox)):
        over = rest(case)
        if isinstance(over, Clear):
            return over
        return backing_off(case, Phase.MOVE) or Move()
    return coming_down


def runs_again(sandbox: Sandbox, step: Step) -> bool:
    """Return whether somebody else had its guest run, so that its disk is not what was copied."""
    off = under_way(sandbox) and sandbox.state is SandboxState.STOPPED
    return off and isinstance(step, ShutDown | PowerOff)


def _found(sandbox: Sandbox) -> bool:
    """Return whether its guest may be shut down: there is a host for it, or it is to stop.

    Attempts alone do not tell: an owner's wish begins to count them anew.
    """
    if sandbox.state is SandboxState.STOPPED or sandbox.desired_state is DesiredState.STOPPED:
        return True
    looked = sandbox.phase is Phase.MOVE and sandbox.attempts == 0 and not _failing(sandbox)
    return looked or sandbox.phase is Phase.STOP


def has_turn(sandbox: Sandbox, beside: Collection[Sandbox]) -> bool:
    """Return whether one may leave now, those `beside` it on its host being as they are.

    Who failed gave its turn to another: when there is room again, all of them want theirs back.
    """
    if sandbox.move_drain_id is None:
        return True
    others = (one for one in beside if one.id != sandbox.id)
    leaving = sum(under_way(one) and _found(one) and not _failing(one) for one in others)
    return leaving < MOST_AT_ONCE


def _failing(sandbox: Sandbox) -> bool:
    return any(c.kind == ConditionKind.FAILING for c in sandbox.conditions)


def hindrance(
    sandbox: Sandbox, host: HostResources, snapshots: Collection[Snapshot]
) -> Hindrance | None:
    """Return why a sandbox cannot be moved from its host; None when it can."""
    return own_hindrance(sandbox) or _of_snapshots(sandbox, snapshots) or _of_host(host)


def own_hindrance(sandbox: Sandbox) -> Hindrance | None:
    """Return why a sandbox cannot be moved, wherever it is; its host may be no more."""
    if not sandbox.live or sandbox.desired_state is DesiredState.DESTROYED:
        return Hindrance(
            code="ending",
            message="it is destroyed, or is being so",
            remedy="create a new sandbox",
            passing=True,
        )
    if sandbox.state is SandboxState.ERROR:
        return Hindrance(
            code="failed",
            message="it has failed, and nobody knows what its disk is worth",
            remedy="look at its reason, then retry or delete it",
        )
    if sandbox.state not in _UP_OR_OFF:
        return Hindrance(
            code="not_up",
            message=f"it is {sandbox.state}: it is not up yet",
            remedy="wait until it is RUNNING or STOPPED",
            passing=True,
        )
    if ended_at(sandbox) is not None:
        return Hindrance(
            code="ended",
            message="its lease has ended, and its disk is being kept as an image",
            remedy="wait for the image, or extend the sandbox",
            passing=True,
        )
    return None


def _of_snapshots(sandbox: Sandbox, snapshots: Collection[Snapshot]) -> Hindrance | None:
    if not snapshots:
        return None
    names = [snapshot.name for snapshot in snapshots]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    named = ", ".join(names[:_MOST_NAMED])
    return Hindrance(
        code="has_snapshots",
        message=f"it has snapshots, which a move would lose: {named}{more}",
        remedy=f"delete them first: sandboxctl snapshot list {sandbox.sandbox_name}",
    )


def _of_host(host: HostResources) -> Hindrance | None:
    if host.health is HostHealth.UP:
        return None
    reason = f": {host.health_reason}" if host.health_reason else ""
    return Hindrance(
        code="host_unreachable",
        message=f"its disk cannot be copied from host {host.name}, which is {host.health}{reason}",
        remedy="wait until the host answers",
    )


def arrived(
    sandbox: Sandbox,
    *,
    to: HostResources,
    network: str,
    decision_id: str,
    image: tuple[str, str | None],
    now: datetime,
) -> Sandbox:
    """Return the record on its new host, where it is to be built of an image, by name and digest.

    It is as one that was just created, but for all that is its own: lease, id, domain UUID, MAC,
    keys and what its guest trusts. A lease that has ended has ended all the same; what was copied
    of its disk for that is not its disk any more.
    """
    gone = sandbox.host_name
    placed = rehosted(unwished(sandbox), to, now)
    return replace(
        placed,
        state=SandboxState.CREATED,
        network=network,
        decision_id=decision_id,
        base_image=image[0],
        image_digest=image[1],
        phase=None,
        phase_at=None,
        failed_hosts=(),
        queued_at=now,
        running_at=None,
        moved_at=now,
        conditions=run_anew(placed, now),
        reason_code=MOVED,
        reason_message=f"moved from {gone} with its disk; placed on {to.name}, waiting to be built",
    )


def image_names(sandbox: Sandbox, asked: datetime) -> tuple[str, str]:
    """Return what to call the image of a move, and what instead where that name is taken."""
    return stamped_names(sandbox, f"move-{asked:%Y%m%d-%H%M%S}")


def asked_apart(sandbox: Sandbox, images: Collection[Image], now: datetime) -> datetime:
    """Return when a move is asked for, by whose name none of the sandbox's `images` goes yet.

    What was copied for another wish is not its disk any more.
    """
    taken = {image.name for image in images}
    while not taken.isdisjoint(image_names(sandbox, now)):
        now += _APART
    return now


def carries(image: Image, sandbox: Sandbox) -> bool:
    """Return whether an image is of the move under way of the sandbox that it belongs to."""
    asked = sandbox.move_asked_at
    going = asked is not None and image.name in image_names(sandbox, asked)
    return going and image.state is not ImageState.REMOVING
