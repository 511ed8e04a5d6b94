"""What each cell of the reconciliation table orders: a function of one case, returning one step.

A rule never asks what else is in its row; `drift.TABLE` alone says where it applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from scheduler.lifecycle import readiness
from scheduler.lifecycle.alternates import elsewhere, only_built, story, yet_to_be_built
from scheduler.lifecycle.clock_steps import pausing
from scheduler.lifecycle.sightings import Absent, Doubt, Seen, Unknown, transient
from scheduler.lifecycle.steps import (
    Barred,
    Become,
    Build,
    Clear,
    ConditionKind,
    Limits,
    Note,
    PowerOff,
    Relocate,
    SeekAddress,
    Settled,
    ShutDown,
    Start,
    Step,
    TearDown,
    Wait,
)
from scheduler.model import (
    DesiredState,
    DomainState,
    ObservedDomain,
    Phase,
    Sandbox,
    SandboxState,
    StateReason,
)


class Look(Enum):
    """What a domain looks like, folded to the columns of the table."""

    RUNNING = auto()
    PAUSED = auto()
    """By a user, or suspended by the guest."""
    STORAGE_FULL = auto()
    """Paused by the hypervisor because a write failed."""
    SHUTTING_DOWN = auto()
    SHUT_OFF = auto()
    CRASHED = auto()
    ABSENT = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that a rule may look at."""

    sandbox: Sandbox
    seen: Seen
    now: datetime
    limits: Limits
    barred: Barred | None = None
    """Why the host builds nothing of this kind for now."""
    pool_free_mb: int = 0
    """What the host's pool was last seen to have room for."""


_LOOKS = {
    DomainState.RUNNING: Look.RUNNING,
    DomainState.PAUSED: Look.PAUSED,
    DomainState.SUSPENDED: Look.PAUSED,
    DomainState.SHUTTING_DOWN: Look.SHUTTING_DOWN,
    DomainState.SHUT_OFF: Look.SHUT_OFF,
    DomainState.CRASHED: Look.CRASHED,
}

_ENDINGS = {
    StateReason.KILLED: ("domain_killed", "the domain was powered off by somebody else"),
    StateReason.CRASHED: ("guest_crashed", "the guest crashed"),
}

_STANDING_DOUBTS = {
    Doubt.HOST_UNREACHABLE: ConditionKind.HOST_UNREACHABLE,
    Doubt.FOREIGN_DOMAIN: ConditionKind.FOREIGN_DOMAIN,
}

_PASSING = frozenset(
    {ConditionKind.HOST_UNREACHABLE, ConditionKind.FOREIGN_DOMAIN, ConditionKind.PAUSED}
)
"""Conditions that are over as soon as the domain is seen as it should be."""


def look_of(seen: Seen) -> Look:
    """Return the column of the table in which `seen` falls."""
    if isinstance(seen, Unknown):
        return Look.UNKNOWN
    if isinstance(seen, Absent):
        return Look.ABSENT
    return _look_of_domain(seen.domain)


def _look_of_domain(domain: ObservedDomain) -> Look:
    if transient(domain):
        return Look.UNKNOWN
    if domain.state is DomainState.PAUSED and domain.reason is StateReason.IO_ERROR:
        return Look.STORAGE_FULL
    if domain.state is DomainState.PAUSED and domain.reason is StateReason.CRASHED:
        return Look.CRASHED
    return _LOOKS[domain.state]


def overdue(case: Case) -> bool:
    """Return whether the sandbox has been brought up for longer than it may take.

    One that moves has its disk brought first, which takes as long as it takes.
    """
    sandbox = case.sandbox
    if sandbox.state is SandboxState.CREATED and sandbox.moved_at is not None:
        return False
    coming_up = sandbox.state is SandboxState.CREATED or (
        sandbox.state is SandboxState.STARTING
        and (sandbox.desired_state is DesiredState.RUNNING or _to_be_built(case))
    )
    if not coming_up or sandbox.desired_state is DesiredState.DESTROYED:
        return False
    since = sandbox.queued_at or sandbox.created_at
    return case.now - since >= timedelta(seconds=sandbox.provision_timeout_seconds)


def _to_be_built(case: Case) -> bool:
    return only_built(case.sandbox) or (
        isinstance(case.seen, Absent) and yet_to_be_built(case.sandbox)
    )


def provision_timeout(case: Case) -> Step:
    """Give up on a sandbox that took too long, and say what it was still missing."""
    sandbox = case.sandbox
    missing = readiness.missing(sandbox, case.seen)
    message = (
        f"not up after {sandbox.provision_timeout_seconds} s: the domain {missing}"
        f"{_last_failure(sandbox)}"
    )
    return Become(
        state=SandboxState.ERROR,
        reason_code="provision_timeout",
        reason_message=story(sandbox, message),
    )


def wait(case: Case) -> Wait:
    """Wait for a state that passes by itself or by its owner's hand."""
    return Wait(code="domain_busy", message=f"the domain is {_describe(case.seen)}")


def wait_and_tell(case: Case) -> Note | Wait:
    """Change nothing; record a doubt that only time or an operator can lift."""
    seen = case.seen
    if not isinstance(seen, Unknown):
        return wait(case)
    kind = _STANDING_DOUBTS.get(seen.doubt)
    if kind is None or _has(case.sandbox, kind):
        return Wait(code=seen.doubt, message=seen.reason)
    return Note(kind=kind, message=seen.reason)


def wait_or_move(case: Case) -> Step:
    """Leave a host that went down while it was to bring the sandbox up; else wait and tell."""
    seen, step = case.seen, wait_and_tell(case)
    if not isinstance(seen, Unknown) or seen.doubt is not Doubt.HOST_UNREACHABLE or overdue(case):
        return step
    return elsewhere(case.sandbox, case.limits, seen.doubt, seen.reason, otherwise=step)


def rest(case: Case) -> Step:
    """Leave the sandbox as it is, but drop conditions that are over."""
    if not case.sandbox.conditions:  # as nearly always, for every sandbox after each look
        return Settled()
    over = tuple(
        kind
        for kind in ConditionKind
        if kind in _PASSING and _has(case.sandbox, kind) and not _holds(kind, case.seen)
    )
    return Clear(kinds=over) if over else Settled()


def build(case: Case) -> Step:
    """Build the domain, a bounded number of times."""
    tried = _tries(case, Phase.BUILD)
    if tried >= case.limits.build_attempts:
        return _gave_up(case, "build_failed", f"the domain was not built in {tried} tries")
    return _kept_out(case) or backing_off(case, Phase.BUILD) or Build()


def start(case: Case) -> Step:
    """Start the domain, a bounded number of times."""
    tried = _tries(case, Phase.START)
    if tried >= case.limits.start_attempts:
        return _gave_up(case, "start_failed", f"the guest did not stay up in {tried} starts")
    return backing_off(case, Phase.START) or Start()


def become_starting(case: Case) -> Step:
    """Say that the domain exists and is coming up."""
    runs = look_of(case.seen) is Look.RUNNING
    return Become(
        state=SandboxState.STARTING,
        reason_code="starting",
        reason_message="the domain runs already" if runs else "the domain is there; starting it",
        address_lost=case.sandbox.state is SandboxState.STOPPED,
    )


def go_on_to_running(case: Case) -> Step:
    """RUNNING means that the domain runs and is ready as it was asked to be."""
    return readiness.go_on(case.sandbox)


def stay_running(case: Case) -> Step:
    """Look after a running sandbox: all is well once its address is known.

    A stop that was taken back is forgotten when the guest has not followed it for long, else the
    deadline of a later stop would be over before it began.
    """
    if case.sandbox.phase is Phase.STOP and not _stopped_by_us(case):
        return Become(
            state=SandboxState.RUNNING,
            reason_code="running",
            reason_message="the guest runs on; the stop that was asked for was taken back",
        )
    return SeekAddress() if case.sandbox.ip_address is None else rest(case)


def note_paused(case: Case) -> Step:
    """Tell that somebody paused the domain; only they know why, so nothing is undone."""
    if _has(case.sandbox, ConditionKind.PAUSED):
        return Wait(code="paused", message="the domain is paused")
    return Note(kind=ConditionKind.PAUSED, message="the domain was paused on its host")


def storage_full(case: Case) -> Step:
    """Tell that the hypervisor stopped the guest because its disk could not be written."""
    return Become(
        state=SandboxState.ERROR,
        reason_code="storage_full",
        reason_message="the host paused the guest after a failed disk write: its pool is full; "
        "once there is room again it goes on by itself",
    )


def ended(case: Case) -> Step:
    """Say why a running guest is off: its own shutdown is a wish, everything else an error."""
    reason = _reason(case.seen)
    if _stopped_by_us(case):
        return Become(
            state=SandboxState.STARTING,
            reason_code="starting",
            reason_message="a start was asked for while the guest was shutting down",
            address_lost=True,
        )
    if reason is StateReason.GUEST_SHUTDOWN:
        return Become(
            state=SandboxState.STOPPED,
            reason_code="guest_shutdown",
            reason_message="the guest shut itself down",
            desired=DesiredState.STOPPED,
            address_lost=True,
        )
    code, message = _ENDINGS.get(
        reason, ("host_restarted", "the domain is off though nobody here stopped it")
    )
    return _broken(code, message)


def crashed(case: Case) -> Step:
    """Say that the guest or its hypervisor process crashed."""
    return _broken("guest_crashed", "the guest crashed")


def lost(case: Case) -> Step:
    """Say that the domain is gone from its host; the allocation stays until proof or a forget."""
    return _broken("domain_lost", f"the domain is no longer on host {case.sandbox.host_name}")


def shut_down(case: Case) -> Step:
    """Ask the guest to shut down, again if it does not react, and end it at the deadline."""
    sandbox = case.sandbox
    if sandbox.phase is not Phase.STOP or sandbox.phase_at is None:
        return ShutDown()
    if case.now - sandbox.phase_at >= timedelta(seconds=case.limits.shutdown_seconds):
        return power_off(case)
    # No call has been answered since the intent: a daemon died on the way.
    if not pausing(sandbox.retry_at, sandbox.updated_at, case.now):
        return ShutDown()
    return Wait(code="shutting_down", message="the guest was asked to shut down")


def power_off(case: Case) -> Step:
    """End the domain's process."""
    return PowerOff()


def become_stopped(case: Case) -> Step:
    """Say that the domain exists and is off, as was asked for."""
    return Become(
        state=SandboxState.STOPPED,
        reason_code="stopped",
        reason_message="the domain is shut off",
        address_lost=True,
    )


def tear_down(case: Case) -> Step:
    """Remove everything the sandbox holds on its host."""
    return backing_off(case, Phase.DESTROY) or TearDown()


def _tries(case: Case, phase: Phase) -> int:
    return case.sandbox.attempts if case.sandbox.phase is phase else 0


def _kept_out(case: Case) -> Relocate | Become | Note | Wait | None:
    """Go elsewhere while builds are kept off the host, unless that may soon be over."""
    barred = case.barred
    if barred is None:
        return None
    if barred.probing:
        return Wait(code="breaker_probing", message=barred.message)
    waiting = Wait(code="breaker_open", message=barred.message)
    return elsewhere(case.sandbox, case.limits, waiting.code, waiting.message, otherwise=waiting)


def backing_off(case: Case, phase: Phase) -> Wait | None:
    """Wait out the pause after a failed try of this phase; another phase starts at once."""
    sandbox, until = case.sandbox, case.sandbox.retry_at
    if sandbox.phase is not phase or not pausing(until, sandbox.updated_at, case.now):
        return None
    return Wait(code="backing_off", message=f"trying again at {until:%H:%M:%S} UTC")


def _gave_up(case: Case, code: str, what: str) -> Step:
    """Try another host when this one refused the calls; a guest that dies dies everywhere."""
    sandbox = case.sandbox
    message = f"{what}{_last_failure(sandbox)}"
    broken = _broken(code, story(sandbox, message))
    if not _has(sandbox, ConditionKind.FAILING):
        return broken
    return elsewhere(sandbox, case.limits, code, message, otherwise=broken)


def _last_failure(sandbox: Sandbox) -> str:
    failures = [c.message for c in sandbox.conditions if c.kind == ConditionKind.FAILING]
    return f"; last failure: {failures[-1]}" if failures else ""


def _broken(code: str, message: str) -> Become:
    return Become(
        state=SandboxState.ERROR, reason_code=code, reason_message=message, address_lost=True
    )


def _stopped_by_us(case: Case) -> bool:
    """Return whether the shutdown is the late answer to a stop that has been taken back."""
    sandbox = case.sandbox
    if sandbox.phase is not Phase.STOP or sandbox.phase_at is None:
        return False
    return case.now - sandbox.phase_at <= timedelta(seconds=2 * case.limits.shutdown_seconds)


def _has(sandbox: Sandbox, kind: ConditionKind) -> bool:
    return any(condition.kind == kind for condition in sandbox.conditions)


def _holds(kind: ConditionKind, seen: Seen) -> bool:
    return kind is ConditionKind.PAUSED and look_of(seen) is Look.PAUSED


def _reason(seen: Seen) -> StateReason:
    return StateReason.OTHER if isinstance(seen, Absent | Unknown) else seen.domain.reason


def _describe(seen: Seen) -> str:
    if isinstance(seen, Absent):
        return "absent"
    if isinstance(seen, Unknown):
        return "unknown"
    return f"{seen.domain.state.value.replace('_', ' ')} ({seen.domain.reason.value})"
