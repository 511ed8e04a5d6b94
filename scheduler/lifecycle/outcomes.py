"""What a step writes into the record: before its host call, after it, or instead of one.

`phase` is set before a call and kept until what it promised has been seen. `attempts` and
`retry_at` belong to that phase: a call counts only once it has answered, so a crash in the middle
never uses up a try, and another phase starts afresh.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from scheduler.lifecycle.expiry import endings, lease, run_anew
from scheduler.lifecycle.moving import unwished
from scheduler.lifecycle.steps import Become, Clear, ConditionKind, Note
from scheduler.model import Condition, Phase, Sandbox, SandboxState

SHUTDOWN_REPEAT_SECONDS = 10
"""A booting guest ignores its first power button, so it is pressed again."""


def backoff_seconds(attempts: int, *, longest: float = 60) -> float:
    """Return how long to pause after that many failed tries: 1, 2, 4 ... up to `longest`."""
    return min(longest, 2.0 ** min(max(attempts - 1, 0), 16))


def begun(sandbox: Sandbox, phase: Phase, *, now: datetime) -> Sandbox:
    """Return the record to commit before the host calls of `phase` begin (I4)."""
    if sandbox.phase is phase:
        return replace(sandbox, updated_at=now)
    return replace(sandbox, phase=phase, phase_at=now, attempts=0, retry_at=None, updated_at=now)


def done(sandbox: Sandbox, *, now: datetime) -> Sandbox:
    """Return the record after the host calls of its phase succeeded.

    The phase stays until the state it leads to is written: what the calls left on the host must
    never look like nothing. A start that takes, or a resumption, still counts as a try
    until the guest is up.
    """
    fresh = replace(
        sandbox,
        conditions=_without(sandbox, {ConditionKind.FAILING}),
        attempts=0,
        retry_at=None,
        updated_at=now,
    )
    if sandbox.phase in (Phase.START, Phase.RESUME):
        tries = sandbox.attempts + 1
        pause = timedelta(seconds=backoff_seconds(tries))
        return replace(fresh, attempts=tries, retry_at=now + pause)
    if sandbox.phase is Phase.STOP:
        return replace(fresh, retry_at=now + timedelta(seconds=SHUTDOWN_REPEAT_SECONDS))
    return fresh


def failed(sandbox: Sandbox, message: str, *, now: datetime, longest: float = 60) -> Sandbox:
    """Return the record after a host call of its phase was refused; seconds for `longest`."""
    tries = sandbox.attempts + 1
    return replace(
        sandbox,
        attempts=tries,
        retry_at=now + timedelta(seconds=backoff_seconds(tries, longest=longest)),
        conditions=_with(sandbox, ConditionKind.FAILING, message, now),
        updated_at=now,
    )


def become(sandbox: Sandbox, step: Become, *, now: datetime) -> Sandbox:
    """Return the record in its new state, with all that follows from it: lease, address, phase."""
    changed = replace(
        _rested(sandbox),
        state=step.state,
        desired_state=step.desired or sandbox.desired_state,
        reason_code=step.reason_code,
        reason_message=step.reason_message,
        conditions=endings(sandbox),
        updated_at=now,
    )
    if step.address_lost:
        changed = replace(
            changed,
            ip_address=None,
            ip_source=None,
            ip_seen_at=None,
            ip_gateway=None,
            ssh_seen_at=None,
        )
    if step.state is SandboxState.STARTING and sandbox.state is not SandboxState.CREATED:
        changed = replace(changed, queued_at=now, conditions=run_anew(changed, now))
    if step.state is SandboxState.STARTING and sandbox.moved_at is not None:
        changed = replace(changed, queued_at=now)
    if step.state is SandboxState.RUNNING and sandbox.state is not SandboxState.RUNNING:
        changed = replace(changed, running_at=now)
    if step.state is SandboxState.ERROR:
        changed = unwished(changed)
    if step.state in (SandboxState.RUNNING, SandboxState.STOPPED):
        changed = replace(changed, failed_hosts=())
    return replace(changed, expires_at=lease(changed, now))


def rested(sandbox: Sandbox, *, now: datetime) -> Sandbox:
    """Return the record after work that leads to no other state is over."""
    kept = _without(sandbox, {ConditionKind.FAILING})
    return replace(_rested(sandbox), conditions=kept, updated_at=now)


def noted(sandbox: Sandbox, step: Note, *, now: datetime) -> Sandbox:
    """Return the record with the condition; one that was there already keeps its time."""
    return replace(sandbox, conditions=_with(sandbox, step.kind, step.message, now), updated_at=now)


def cleared(sandbox: Sandbox, step: Clear, *, now: datetime) -> Sandbox:
    """Return the record without the conditions that are over."""
    return replace(sandbox, conditions=_without(sandbox, set(step.kinds)), updated_at=now)


def _rested(sandbox: Sandbox) -> Sandbox:
    return replace(sandbox, phase=None, phase_at=None, attempts=0, retry_at=None)


def _without(sandbox: Sandbox, kinds: set[ConditionKind]) -> tuple[Condition, ...]:
    return tuple(condition for condition in sandbox.conditions if condition.kind not in kinds)


def _with(
    sandbox: Sandbox, kind: ConditionKind, message: str, now: datetime
) -> tuple[Condition, ...]:
    since = next((c.since for c in sandbox.conditions if c.kind == kind), now)
    return (
        *_without(sandbox, {kind}),
        Condition(kind=kind, message=message, since=since),
    )
