"""The reconciliation table: recorded x observed -> one step.

A sandbox is judged only while no host call of ours is in flight for it. `phase` is never trusted:
a call that a crash cut short is judged again from what is seen, so there is one repair path and it
runs all the time. Nothing but a desired state of DESTROYED ever tears a domain down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from scheduler.lifecycle import captures, moves, recovery, rules, snapshots
from scheduler.lifecycle.rules import Case, Look
from scheduler.lifecycle.sightings import Absent, Doubt, Present, Seen, Unknown, sight, witness
from scheduler.lifecycle.steps import (
    Barred,
    Become,
    Build,
    Capture,
    Clear,
    ConditionKind,
    Limits,
    Note,
    PowerOff,
    Relocate,
    Resume,
    SeekAddress,
    Settled,
    ShutDown,
    Start,
    Step,
    TearDown,
    TrySsh,
    Wait,
)
from scheduler.model import DesiredState, Sandbox, SandboxState, Snapshot

__all__ = [
    "TABLE",
    "Absent",
    "Become",
    "Build",
    "Capture",
    "Clear",
    "ConditionKind",
    "Doubt",
    "Limits",
    "Note",
    "PowerOff",
    "Present",
    "Relocate",
    "Resume",
    "SeekAddress",
    "Seen",
    "Settled",
    "ShutDown",
    "Start",
    "Step",
    "TearDown",
    "TrySsh",
    "Unknown",
    "Wait",
    "judge",
    "sight",
    "witness",
]

_UP = DesiredState.RUNNING
_DOWN = DesiredState.STOPPED
_GONE = DesiredState.DESTROYED

_BRING_DOWN: Mapping[Look, Callable[[Case], Step]] = {
    Look.RUNNING: rules.shut_down,
    Look.PAUSED: rules.power_off,
    Look.STORAGE_FULL: rules.power_off,
    Look.SHUTTING_DOWN: rules.shut_down,
    Look.SHUT_OFF: rules.become_stopped,
    Look.CRASHED: rules.become_stopped,
    Look.ABSENT: rules.lost,
    Look.UNKNOWN: rules.wait_and_tell,
}
_TEAR_DOWN: Mapping[Look, Callable[[Case], Step]] = {
    **dict.fromkeys(Look, rules.tear_down),
    Look.UNKNOWN: rules.wait_and_tell,
}

TABLE: Mapping[tuple[DesiredState, SandboxState], Mapping[Look, Callable[[Case], Step]]] = {
    (_UP, SandboxState.CREATED): {
        Look.RUNNING: rules.become_starting,
        Look.PAUSED: rules.wait,
        Look.STORAGE_FULL: rules.wait,
        Look.SHUTTING_DOWN: rules.wait,
        Look.SHUT_OFF: rules.become_starting,
        Look.CRASHED: rules.become_starting,
        Look.ABSENT: rules.build,
        Look.UNKNOWN: rules.wait_or_move,
    },
    (_UP, SandboxState.STARTING): {
        Look.RUNNING: rules.go_on_to_running,
        Look.PAUSED: rules.note_paused,
        Look.STORAGE_FULL: rules.storage_full,
        Look.SHUTTING_DOWN: rules.wait,
        Look.SHUT_OFF: rules.start,
        Look.CRASHED: rules.start,
        Look.ABSENT: rules.build,
        Look.UNKNOWN: rules.wait_or_move,
    },
    (_UP, SandboxState.RUNNING): {
        Look.RUNNING: rules.stay_running,
        Look.PAUSED: rules.note_paused,
        Look.STORAGE_FULL: rules.storage_full,
        Look.SHUTTING_DOWN: rules.wait,
        Look.SHUT_OFF: rules.ended,
        Look.CRASHED: rules.crashed,
        Look.ABSENT: rules.lost,
        Look.UNKNOWN: rules.wait_and_tell,
    },
    (_UP, SandboxState.STOPPED): {
        Look.RUNNING: rules.become_starting,
        Look.PAUSED: rules.wait,
        Look.STORAGE_FULL: rules.wait,
        Look.SHUTTING_DOWN: rules.wait,
        Look.SHUT_OFF: rules.become_starting,
        Look.CRASHED: rules.become_starting,
        Look.ABSENT: rules.lost,
        Look.UNKNOWN: rules.wait_and_tell,
    },
    (_UP, SandboxState.ERROR): {
        Look.RUNNING: recovery.recovered,
        Look.PAUSED: rules.rest,
        Look.STORAGE_FULL: recovery.resume,
        Look.SHUTTING_DOWN: rules.wait,
        Look.SHUT_OFF: rules.rest,
        Look.CRASHED: rules.rest,
        Look.ABSENT: rules.rest,
        Look.UNKNOWN: rules.wait_and_tell,
    },
    (_DOWN, SandboxState.CREATED): {
        Look.RUNNING: rules.shut_down,
        Look.PAUSED: rules.wait,
        Look.STORAGE_FULL: rules.wait,
        Look.SHUTTING_DOWN: rules.shut_down,
        Look.SHUT_OFF: rules.become_stopped,
        Look.CRASHED: rules.become_stopped,
        Look.ABSENT: rules.build,
        Look.UNKNOWN: rules.wait_or_move,
    },
    (_DOWN, SandboxState.STARTING): {**_BRING_DOWN, Look.ABSENT: recovery.build_or_lose},
    (_DOWN, SandboxState.RUNNING): _BRING_DOWN,
    (_DOWN, SandboxState.STOPPED): {
        **_BRING_DOWN,
        Look.SHUT_OFF: captures.capture_or_rest,
        Look.CRASHED: captures.capture_or_rest,
    },
    (_DOWN, SandboxState.ERROR): {**_BRING_DOWN, Look.ABSENT: rules.rest},
    (_GONE, SandboxState.CREATED): _TEAR_DOWN,
    (_GONE, SandboxState.STARTING): _TEAR_DOWN,
    (_GONE, SandboxState.RUNNING): _TEAR_DOWN,
    (_GONE, SandboxState.STOPPED): _TEAR_DOWN,
    (_GONE, SandboxState.ERROR): _TEAR_DOWN,
}
"""What to do for each desired and recorded state, by what the domain looks like."""


def judge(
    sandbox: Sandbox,
    seen: Seen,
    *,
    now: datetime,
    limits: Limits,
    barred: Barred | None = None,
    pool_free_mb: int = 0,
    snapshot: Snapshot | None = None,
) -> Step:
    """Return the one step that brings `sandbox` nearer to what was asked for.

    `barred` says why its host builds nothing of its kind for now, `pool_free_mb` what room its
    host's pool was last seen to have; `snapshot` is the one of its snapshots for which something
    is still to be done.
    """
    row = TABLE.get((sandbox.desired_state, sandbox.state))
    if row is None:
        return Settled()
    case = Case(
        sandbox=sandbox,
        seen=seen,
        now=now,
        limits=limits,
        barred=barred,
        pool_free_mb=pool_free_mb,
    )
    if snapshot is not None and (ordered := snapshots.next_step(case, snapshot)) is not None:
        return ordered
    look = rules.look_of(seen)
    if moves.under_way(sandbox):
        return moves.next_step(case, TABLE[(_DOWN, sandbox.state)][look](case))
    step = row[look](case)
    if look is not Look.UNKNOWN and rules.overdue(case) and not isinstance(step, Become):
        return rules.provision_timeout(case)
    return step
