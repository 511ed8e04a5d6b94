"""The wish to move, as it is written into a sandbox's record, taken back, and found to be possible.

Pure, and below every rule that may end such a wish.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TypedDict

from scheduler.lifecycle.steps import ConditionKind
from scheduler.model import Condition, Phase, Sandbox


def wished(
    sandbox: Sandbox, *, to: str | None, reason: str | None, drain_id: str | None, now: datetime
) -> Sandbox:
    """Return the record of a sandbox that is to move.

    A stop that was taken back, and may yet come true, is no part of it.
    """
    began = sandbox.phase in (None, Phase.STOP)
    return replace(
        sandbox,
        move_asked_at=now,
        move_to=to,
        move_reason=reason,
        move_drain_id=drain_id,
        phase=None if began else sandbox.phase,
        phase_at=None if began else sandbox.phase_at,
        attempts=0,
        retry_at=None,
    )


def unwished(sandbox: Sandbox) -> Sandbox:
    """Return the record of a sandbox that is not to move, be it there or not."""
    return replace(sandbox, move_asked_at=None, move_to=None, move_reason=None, move_drain_id=None)


def cancelled(sandbox: Sandbox) -> Sandbox:
    """Return the record of one that stays: what failed of its move is no longer true of it.

    A guest that was asked to shut down may still do so, and is started again then.
    """
    stays = replace(unwished(sandbox), conditions=_unfailing(sandbox), attempts=0, retry_at=None)
    if sandbox.phase is not Phase.MOVE:
        return stays
    return replace(stays, phase=None, phase_at=None)


def found(sandbox: Sandbox, *, now: datetime) -> Sandbox:
    """Return the record of one for which there is a host: its guest may be shut down."""
    return replace(
        sandbox,
        phase=Phase.MOVE,
        phase_at=now,
        attempts=0,
        retry_at=None,
        conditions=_unfailing(sandbox),
        updated_at=now,
    )


def copying(sandbox: Sandbox, refused: int, *, now: datetime) -> Sandbox:
    """Return the record of one whose disk is about to be copied, after so many refused copies.

    These alone are counted from here on, so that the next refusal is one more, and is told. What
    was refused is told until it is there; room that was missing is found by now.
    """
    return replace(
        sandbox,
        attempts=refused,
        retry_at=None,
        conditions=sandbox.conditions if refused else _unfailing(sandbox),
        updated_at=now,
    )


def _unfailing(sandbox: Sandbox) -> tuple[Condition, ...]:
    return tuple(c for c in sandbox.conditions if c.kind != ConditionKind.FAILING)


class MoveWish(TypedDict):
    """The wish's fields, as a transition writes them."""

    move_asked_at: datetime | None
    move_to: str | None
    move_reason: str | None
    move_drain_id: str | None


def wish_of(sandbox: Sandbox) -> MoveWish:
    """Return the wish to move that a record has, or lacks, for a transition to write."""
    return {
        "move_asked_at": sandbox.move_asked_at,
        "move_to": sandbox.move_to,
        "move_reason": sandbox.move_reason,
        "move_drain_id": sandbox.move_drain_id,
    }
