"""Following the steps always ends where it should: properties over a tiny simulated host."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.lifecycle import outcomes
from scheduler.lifecycle.alternates import coming_up
from scheduler.lifecycle.drift import judge
from scheduler.lifecycle.sightings import Absent, Doubt, Present, Seen, Unknown
from scheduler.lifecycle.steps import (
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
    TrySsh,
    Wait,
)
from scheduler.lifecycle.transitions import allowed
from scheduler.model import (
    Condition,
    DesiredState,
    DomainState,
    ObservedDomain,
    OnExpire,
    Phase,
    Readiness,
    Sandbox,
    SandboxState,
    StateReason,
)
from tests.lifecycle.samples import NOW, domain, mark, sandbox

STEPS_AT_MOST = 400
LIMITS = Limits(build_attempts=3, start_attempts=3, shutdown_seconds=60)
STEP_TYPES = (
    Wait, Build, Start, ShutDown, PowerOff, TearDown, SeekAddress, TrySsh, Become, Note, Clear,
    Relocate, Settled,
)  # fmt: skip

states = st.sampled_from(SandboxState)
live_states = st.sampled_from([s for s in SandboxState if s is not SandboxState.DESTROYED])
wishes = st.sampled_from(DesiredState)
domains = st.builds(
    lambda state, reason: domain(state, reason, marked=mark()),
    st.sampled_from(DomainState),
    st.sampled_from(StateReason),
)
unknowns = st.builds(Unknown, reason=st.text(max_size=9), doubt=st.sampled_from(Doubt))
sightings = st.just(Absent()) | st.builds(Present, domain=domains) | unknowns
moments = st.integers(-1000, 1000).map(lambda seconds: NOW + timedelta(seconds=seconds))
conditions = st.lists(
    st.builds(
        Condition, kind=st.sampled_from(ConditionKind), message=st.text(max_size=9), since=moments
    ),
    max_size=3,
).map(tuple)
sandboxes = st.builds(
    sandbox,
    states,
    desired_state=wishes,
    phase=st.none() | st.sampled_from(Phase),
    phase_at=st.none() | moments,
    attempts=st.integers(0, 10**6),
    retry_at=st.none() | moments,
    auto_start=st.booleans(),
    ip_address=st.none() | st.just("10.0.0.5"),
    on_expire=st.sampled_from(OnExpire),
    ready=st.sampled_from(Readiness),
    ssh_seen_at=st.none() | moments,
    provision_timeout_seconds=st.integers(1, 10**6),
    queued_at=st.none() | moments,
    conditions=conditions,
)


@given(record=sandboxes, seen=sightings, now=moments)
def test_every_sandbox_and_sighting_gets_one_lawful_step(
    record: Sandbox, seen: Seen, now: datetime
) -> None:
    step = judge(record, seen, now=now, limits=LIMITS)
    assert isinstance(step, STEP_TYPES)
    if isinstance(step, Become):
        assert allowed(record.state, step.state)
        assert step.state is not SandboxState.DESTROYED
    if isinstance(step, TearDown):
        assert record.desired_state is DesiredState.DESTROYED
    if record.state is SandboxState.DESTROYED:
        assert step == Settled()


@given(record=sandboxes, seen=unknowns, now=moments)
def test_nothing_is_done_on_what_is_unknown(record: Sandbox, seen: Seen, now: datetime) -> None:
    step = judge(record, seen, now=now, limits=LIMITS)
    if isinstance(step, Relocate):  # which is done on what is known: that the host is down
        assert isinstance(seen, Unknown)
        assert seen.doubt is Doubt.HOST_UNREACHABLE
        assert coming_up(record)
        step = step.otherwise
    assert isinstance(step, Wait | Note | Settled)
    assert isinstance(step, Settled) is (record.state is SandboxState.DESTROYED)


@dataclass(kw_only=True)
class SimulatedHost:
    """One host that does what it is asked, except for the calls it is told to spoil."""

    seen: ObservedDomain | None
    spoilt: list[str] = field(default_factory=list)
    """What becomes of the next calls: `refused`, `cut` (a crash before the answer), `dies`."""
    obeys_shutdown: bool = True

    def look(self) -> Seen:
        return Absent() if self.seen is None else Present(domain=self.seen)

    def become(self, state: DomainState, reason: StateReason = StateReason.OTHER) -> None:
        self.seen = domain(state, reason, marked=mark())

    def build(self) -> None:
        if self.seen is None:
            self.become(DomainState.SHUT_OFF)

    def start(self) -> None:
        self.become(DomainState.RUNNING)

    def shut_down(self) -> None:
        if self.obeys_shutdown:
            self.become(DomainState.SHUT_OFF, StateReason.GUEST_SHUTDOWN)

    def power_off(self) -> None:
        self.become(DomainState.SHUT_OFF, StateReason.KILLED)

    def tear_down(self) -> None:
        self.seen = None


PHASES = {
    Build: Phase.BUILD,
    Start: Phase.START,
    ShutDown: Phase.STOP,
    PowerOff: Phase.STOP,
    TearDown: Phase.DESTROY,
}


@dataclass(kw_only=True)
class World:
    """A sandbox, its host and the time; carries out steps as the converge loop does."""

    record: Sandbox
    host: SimulatedHost
    now: datetime = NOW

    def carry_out(self, step: Step) -> None:
        self.now += timedelta(seconds=1)
        match step:
            case Become():
                assert allowed(self.record.state, step.state)
                self.record = outcomes.become(self.record, step, now=self.now)
            case Note():
                self.record = outcomes.noted(self.record, step, now=self.now)
            case Clear():
                self.record = outcomes.cleared(self.record, step, now=self.now)
            case SeekAddress():
                self.record = replace(self.record, ip_address="10.0.0.5")
            case TrySsh():
                self.record = replace(self.record, ssh_seen_at=self.now)
            case Wait():
                self.now += timedelta(seconds=9)
            case Relocate():
                self.carry_out(step.otherwise)
            case _:
                self.call(step)

    def call(self, step: Step) -> None:
        self.record = outcomes.begun(self.record, PHASES[type(step)], now=self.now)
        fate = self.host.spoilt.pop(0) if self.host.spoilt else "done"
        if fate == "cut":
            return
        if fate == "refused":
            self.record = outcomes.failed(self.record, "refused", now=self.now)
            return
        act = {
            Build: self.host.build,
            Start: self.host.start,
            ShutDown: self.host.shut_down,
            PowerOff: self.host.power_off,
            TearDown: self.host.tear_down,
        }[type(step)]
        act()
        if fate == "dies" and self.host.seen is not None:
            self.host.become(DomainState.SHUT_OFF, StateReason.CRASHED)
        if isinstance(step, TearDown):
            self.record = replace(self.record, state=SandboxState.DESTROYED)
        else:
            self.record = outcomes.done(self.record, now=self.now)

    def settle(self) -> int:
        """Follow the steps to the end and return how many it took."""
        for taken in range(STEPS_AT_MOST):
            step = judge(self.record, self.host.look(), now=self.now, limits=LIMITS)
            if isinstance(step, Settled):
                return taken
            self.carry_out(step)
        raise AssertionError(f"not settled: {self.record}, {self.host}")


SETTLING = [
    DomainState.RUNNING,
    DomainState.SHUTTING_DOWN,
    DomainState.SHUT_OFF,
    DomainState.CRASHED,
]
hosts = st.builds(
    SimulatedHost,
    seen=st.none()
    | st.builds(lambda state: domain(state, marked=mark()), st.sampled_from(SETTLING)),
    spoilt=st.lists(st.sampled_from(["refused", "cut", "dies", "done"]), max_size=12),
    obeys_shutdown=st.booleans(),
)
GOALS = {
    DesiredState.RUNNING: SandboxState.RUNNING,
    DesiredState.STOPPED: SandboxState.STOPPED,
    DesiredState.DESTROYED: SandboxState.DESTROYED,
}


def finish_shutdowns(host: SimulatedHost) -> None:
    """A guest that was shutting down when we first looked gets there by itself."""
    if host.seen is not None and host.seen.state is DomainState.SHUTTING_DOWN:
        host.become(DomainState.SHUT_OFF, StateReason.GUEST_SHUTDOWN)


@given(state=live_states, desired=wishes, host=hosts)
def test_following_the_steps_reaches_the_wish_or_an_error(
    state: SandboxState, desired: DesiredState, host: SimulatedHost
) -> None:
    finish_shutdowns(host)
    world = World(record=sandbox(state, desired_state=desired, reason_code="before"), host=host)
    world.settle()
    reached, wish = world.record.state, world.record.desired_state
    assert reached in (GOALS[wish], SandboxState.ERROR)
    if desired is DesiredState.DESTROYED:
        assert reached is SandboxState.DESTROYED
        assert world.host.seen is None
    else:
        assert wish is not DesiredState.DESTROYED
    if reached is SandboxState.ERROR:
        assert world.record.reason_code
    if reached is SandboxState.RUNNING:
        assert world.record.ip_address is not None


@given(desired=wishes)
def test_a_host_that_obeys_leads_to_the_wish_in_a_few_steps(desired: DesiredState) -> None:
    world = World(record=sandbox(desired_state=desired), host=SimulatedHost(seen=None))
    assert world.settle() <= 6
    assert world.record.state is GOALS[desired]


@given(
    spoilt=st.lists(st.just("cut"), min_size=1, max_size=8),
    desired=st.sampled_from([DesiredState.RUNNING, DesiredState.STOPPED]),
)
def test_crashes_in_the_middle_of_calls_use_up_no_tries(
    spoilt: list[str], desired: DesiredState
) -> None:
    world = World(
        record=sandbox(desired_state=desired), host=SimulatedHost(seen=None, spoilt=spoilt)
    )
    world.settle()
    assert world.record.state is GOALS[desired]


@given(spoilt=st.lists(st.just("refused"), min_size=3, max_size=9))
def test_a_host_that_always_refuses_leads_to_an_error(spoilt: list[str]) -> None:
    world = World(record=sandbox(), host=SimulatedHost(seen=None, spoilt=spoilt))
    world.settle()
    assert (world.record.state, world.record.reason_code) == (SandboxState.ERROR, "build_failed")
    assert world.record.reason_message is not None
    assert world.record.reason_message.endswith("last failure: refused")


@given(wish=wishes, host=hosts, then=wishes)
def test_a_change_of_mind_is_followed_as_well(
    wish: DesiredState, host: SimulatedHost, then: DesiredState
) -> None:
    finish_shutdowns(host)
    world = World(record=sandbox(desired_state=wish), host=host)
    world.settle()
    world.record = replace(world.record, desired_state=then)
    world.settle()
    final = world.record
    assert final.state in (GOALS[final.desired_state], SandboxState.ERROR, SandboxState.DESTROYED)
