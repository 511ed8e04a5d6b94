"""The reconciliation table, every cell of it, against the design's own table."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler.lifecycle.drift import TABLE, judge
from scheduler.lifecycle.sightings import Absent, Doubt, Present, Seen, Unknown
from scheduler.lifecycle.steps import Become, Limits, Note, Relocate, Step, Wait
from scheduler.lifecycle.transitions import allowed
from scheduler.model import DesiredState, DomainState, Sandbox, SandboxState, StateReason
from tests.lifecycle.samples import NOW, domain, mark, sandbox

LIMITS = Limits()


def present(state: DomainState, reason: StateReason = StateReason.OTHER) -> Present:
    return Present(domain=domain(state, reason, marked=mark()))


SEEN: dict[str, Seen] = {
    "running": present(DomainState.RUNNING),
    "paused": present(DomainState.PAUSED, StateReason.USER),
    "suspended": present(DomainState.SUSPENDED),
    "io error": present(DomainState.PAUSED, StateReason.IO_ERROR),
    "shutting down": present(DomainState.SHUTTING_DOWN),
    "shutdown": present(DomainState.SHUT_OFF, StateReason.GUEST_SHUTDOWN),
    "killed": present(DomainState.SHUT_OFF, StateReason.KILLED),
    "failed": present(DomainState.SHUT_OFF, StateReason.CRASHED),
    "off": present(DomainState.SHUT_OFF),
    "crashed": present(DomainState.CRASHED),
    "panicked": present(DomainState.PAUSED, StateReason.CRASHED),
    "absent": Absent(),
    "unreachable": Unknown(reason="no answer", doubt=Doubt.HOST_UNREACHABLE),
    "foreign": Unknown(reason="not ours", doubt=Doubt.FOREIGN_DOMAIN),
    "not observed": Unknown(reason="not yet"),
    "transient": present(DomainState.PAUSED, StateReason.TRANSIENT),
    "no state": present(DomainState.UNKNOWN),
}
UNKNOWN = {
    "unreachable": "Note host_unreachable",
    "foreign": "Note foreign_domain",
    "not observed": "Wait not_observed",
    "transient": "Wait domain_busy",
    "no state": "Wait domain_busy",
}
MOVING = {"unreachable": "Relocate, else Note host_unreachable"}
WAITING = dict.fromkeys(["paused", "suspended", "io error", "shutting down"], "Wait domain_busy")
OFF = ["shutdown", "killed", "failed", "off", "crashed", "panicked"]
STARTING = "STARTING starting"
STOPPED = "STOPPED stopped"
LOST = "ERROR domain_lost"
BRING_DOWN = {
    "running": "ShutDown",
    "paused": "PowerOff",
    "suspended": "PowerOff",
    "io error": "PowerOff",
    "shutting down": "ShutDown",
    **dict.fromkeys(OFF, STOPPED),
    "absent": LOST,
}
TEAR_DOWN = dict.fromkeys([*BRING_DOWN], "TearDown")

DESIGN: dict[str, dict[str, str]] = {
    "RUNNING/CREATED": {
        "running": STARTING,
        **WAITING,
        **dict.fromkeys(OFF, STARTING),
        "absent": "Build",
        **MOVING,
    },
    "STOPPED/CREATED": {
        "running": "ShutDown",
        **WAITING,
        "shutting down": "ShutDown",
        **dict.fromkeys(OFF, STOPPED),
        "absent": "Build",
        **MOVING,
    },
    "RUNNING/STARTING": {
        "running": "SeekAddress",
        "paused": "Note paused",
        "suspended": "Note paused",
        "io error": "ERROR storage_full",
        "shutting down": "Wait domain_busy",
        **dict.fromkeys(OFF, "Start"),
        "absent": "Build",
        **MOVING,
    },
    "RUNNING/RUNNING": {
        "running": "SeekAddress",
        "paused": "Note paused",
        "suspended": "Note paused",
        "io error": "ERROR storage_full",
        "shutting down": "Wait domain_busy",
        "shutdown": "STOPPED guest_shutdown, wants STOPPED",
        "killed": "ERROR domain_killed",
        "failed": "ERROR guest_crashed",
        "off": "ERROR host_restarted",
        "crashed": "ERROR guest_crashed",
        "panicked": "ERROR guest_crashed",
        "absent": LOST,
    },
    "RUNNING/STOPPED": {
        "running": STARTING,
        **WAITING,
        **dict.fromkeys(OFF, STARTING),
        "absent": LOST,
    },
    "RUNNING/ERROR": {
        "running": "SeekAddress",
        **dict.fromkeys(["paused", "suspended", "io error"], "Settled"),
        "shutting down": "Wait domain_busy",
        **dict.fromkeys(OFF, "Settled"),
        "absent": "Settled",
    },
    # Or lost, once a start of it was begun: see test_recovery.py.
    "STOPPED/STARTING": {**BRING_DOWN, "absent": "Build"},
    "STOPPED/RUNNING": BRING_DOWN,
    "STOPPED/STOPPED": {**BRING_DOWN, **dict.fromkeys(OFF, "Settled")},
    "STOPPED/ERROR": {**BRING_DOWN, "absent": "Settled"},
    "DESTROYED/CREATED": TEAR_DOWN,
    "DESTROYED/STARTING": TEAR_DOWN,
    "DESTROYED/RUNNING": TEAR_DOWN,
    "DESTROYED/STOPPED": TEAR_DOWN,
    "DESTROYED/ERROR": TEAR_DOWN,
}
CELLS = [
    pytest.param(row, look, step, id=f"{row}-{look}")
    for row, cells in DESIGN.items()
    for look, step in (UNKNOWN | cells).items()
]


def told(step: Step) -> str:
    """Return a step in the words of the table."""
    match step:
        case Become(state=state, reason_code=code, desired=desired):
            wanted = f", wants {desired}" if desired else ""
            return f"{state} {code}{wanted}"
        case Wait(code=code):
            return f"Wait {code}"
        case Note(kind=kind):
            return f"Note {kind}"
        case Relocate(otherwise=otherwise):
            return f"Relocate, else {told(otherwise)}"
    return type(step).__name__


def recorded(row: str, **changes: object) -> Sandbox:
    desired, state = row.split("/")
    return sandbox(SandboxState(state), desired_state=DesiredState(desired), **changes)


def judged(record: Sandbox, look: str, *, after: float = 0) -> Step:
    return judge(record, SEEN[look], now=NOW + timedelta(seconds=after), limits=LIMITS)


@pytest.mark.parametrize(("row", "look", "expected"), CELLS)
def test_each_cell_is_as_designed(row: str, look: str, expected: str) -> None:
    record = recorded(row)
    step = judged(record, look)
    assert told(step) == expected
    if isinstance(step, Become):
        assert allowed(record.state, step.state)
        assert step.reason_message


def test_the_table_has_every_row_of_the_design_and_no_other() -> None:
    assert {f"{desired}/{state}" for desired, state in TABLE} == set(DESIGN)
    for cells in DESIGN.values():
        assert set(UNKNOWN | cells) == set(SEEN)


@pytest.mark.parametrize("desired", DesiredState)
@pytest.mark.parametrize("look", SEEN)
def test_a_destroyed_sandbox_is_never_touched(desired: DesiredState, look: str) -> None:
    record = sandbox(SandboxState.DESTROYED, desired_state=desired)
    assert told(judged(record, look)) == "Settled"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("RUNNING/STARTING", "RUNNING running"),
        ("RUNNING/RUNNING", "Settled"),
        ("RUNNING/ERROR", "RUNNING running"),
    ],
)
def test_running_means_that_the_address_is_known(row: str, expected: str) -> None:
    assert told(judged(recorded(row, ip_address="10.0.0.5"), "running")) == expected


@pytest.mark.parametrize(
    ("row", "look", "lost"),
    [
        ("RUNNING/RUNNING", "shutdown", True),
        ("RUNNING/RUNNING", "killed", True),
        ("RUNNING/RUNNING", "absent", True),
        ("RUNNING/RUNNING", "io error", False),
        ("RUNNING/STOPPED", "off", True),
        ("RUNNING/CREATED", "off", False),
        ("STOPPED/RUNNING", "off", True),
    ],
)
def test_an_address_is_forgotten_with_the_guest_that_had_it(
    row: str, look: str, lost: bool
) -> None:
    step = judged(recorded(row, ip_address="10.0.0.5"), look)
    assert isinstance(step, Become)
    assert step.address_lost is lost
