"""What happens is counted once, under labels from closed sets."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler.lifecycle.findings import Finding, FindingCode, HostAudit, Orphan
from scheduler.lifecycle.orphans import OrphanCode, OrphanKind
from scheduler.metrics.lives import ENDINGS
from scheduler.metrics.meter import Meter
from scheduler.model import Ending, Phase, SandboxState
from scheduler.service.audits import AuditReport
from tests.clocks import ManualClock
from tests.metrics.reading import Series, key, values
from tests.metrics.samples import NOW, sandbox

CREATED, STARTING = SandboxState.CREATED, SandboxState.STARTING
RUNNING, ERROR = SandboxState.RUNNING, SandboxState.ERROR


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def meter(clock: ManualClock) -> Meter:
    return Meter(clock)


def told(meter: Meter) -> Series:
    return values(meter.registry.collect())


def test_known_series_exist_before_anything_happens(meter: Meter) -> None:
    series = told(meter)
    for result in ("placed", "capacity_exhausted", "constraint_impossible"):
        assert series[key("scheduler_decisions_total", result=result)] == 0
    for reason in ("ttl", "drain", "user", "forgotten", "other"):
        assert series[key("sandboxes_destroyed_total", reason=reason)] == 0
    assert series[key("sandboxes_created_total", result="failed")] == 0
    assert series[key("sandboxes_expired_total", action="stop")] == 0
    assert series[key("sandbox_create_duration_seconds_count", phase="boot")] == 0


def test_decisions_and_their_refusals_are_counted(meter: Meter) -> None:
    meter.decided("placed", {"memory": 2, "labels": 1}, 0.002)
    meter.decided("capacity_exhausted", {"memory": 3}, 0.003)
    series = told(meter)
    assert series[key("scheduler_decisions_total", result="placed")] == 1
    assert series[key("scheduler_decisions_total", result="capacity_exhausted")] == 1
    assert series[key("scheduler_rejections_total", filter="memory")] == 5
    assert series[key("scheduler_rejections_total", filter="labels")] == 1
    assert series[key("scheduler_decision_duration_seconds_count")] == 2
    assert series[key("scheduler_decision_duration_seconds_sum")] == pytest.approx(0.005)


def test_publications_are_counted_by_forge_and_status(meter: Meter) -> None:
    meter.published("gitlab", "MERGED")
    series = told(meter)
    assert series[key("publications_total", forge="gitlab", status="merged")] == 1
    assert series[key("publications_total", forge="github", status="pending")] == 0


def test_plays_are_counted_by_how_they_ended(meter: Meter) -> None:
    meter.playing(2)
    meter.played("unreachable")
    meter.playing(1)
    series = told(meter)
    assert series[key("plays_ended_total", status="unreachable")] == 1
    assert series[key("plays_ended_total", status="interrupted")] == 0
    assert series[key("plays_running")] == 1
    assert key("plays_ended_total", status="playing") not in series


def test_commands_are_timed_by_how_they_ended(meter: Meter) -> None:
    meter.commanded()
    meter.commanded()
    meter.command_ended("timed_out", 60.0)
    series = told(meter)
    assert series[key("commands_running")] == 1
    assert series[key("commands_ended_total", status="timed_out")] == 1
    assert series[key("command_duration_seconds_sum", status="timed_out")] == 60
    assert series[key("command_duration_seconds_count", status="exited")] == 0
    assert key("command_duration_seconds_count", status="running") not in series


def test_drains_are_counted_by_how_they_ended(meter: Meter) -> None:
    meter.drained("finished")
    series = told(meter)
    assert series[key("drains_ended_total", status="finished")] == 1
    assert series[key("drains_ended_total", status="aborted")] == 0
    assert key("drains_ended_total", status="active") not in series


def test_only_computed_diffs_are_timed(meter: Meter) -> None:
    meter.compared("computed", 0.5)
    meter.compared("stored", None)
    series = told(meter)
    for result, number in (("computed", 1), ("stored", 1), ("failed", 0)):
        assert series[key("diffs_total", result=result)] == number
    assert series[key("diff_duration_seconds_count")] == 1
    assert series[key("diff_duration_seconds_sum")] == 0.5


def test_backups_have_a_last_success_once_somebody_has_looked(meter: Meter) -> None:
    last = key("backup_last_success_timestamp_seconds")
    assert last not in told(meter), "where none are made, none is overdue"
    meter.backed_up(None)
    assert told(meter)[last] == 0
    meter.backed_up(NOW)
    meter.backup_ended("failed")
    series = told(meter)
    assert series[last] == NOW.timestamp()
    assert series[key("backups_total", result="failed")] == 1
    assert series[key("backups_total", result="done")] == 0


def test_kept_files_are_counted_by_kind(meter: Meter) -> None:
    meter.collected("contents", 3, 4096)
    series = told(meter)
    assert series[key("kept_files_removed_total", kind="contents")] == 3
    assert series[key("kept_files_bytes", kind="contents")] == 4096
    assert series[key("kept_files_removed_total", kind="manifests")] == 0


def test_passes_are_counted_and_timed_by_loop(meter: Meter, clock: ManualClock) -> None:
    meter.passed("poll", 0.02)
    clock.advance(10)
    meter.passed("poll", 0.03)
    series = told(meter)
    assert series[key("reconcile_runs_total", controller="poll")] == 2
    assert series[key("reconcile_duration_seconds_sum", controller="poll")] == pytest.approx(0.05)
    last = key("reconcile_last_success_timestamp_seconds", controller="poll")
    assert series[last] == NOW.timestamp() + 10


def test_a_loop_that_rests_has_no_last_pass(meter: Meter) -> None:
    last = key("reconcile_last_success_timestamp_seconds", controller="poll")
    meter.rested("poll")
    meter.passed("poll", 0.02)
    meter.rested("poll")
    assert last not in told(meter)
    assert told(meter)[key("reconcile_runs_total", controller="poll")] == 1
    meter.passed("poll", 0.02)
    assert told(meter)[last] == NOW.timestamp()


def test_a_first_start_is_timed_by_phase(meter: Meter) -> None:
    later = {"updated_at": NOW + timedelta(seconds=3)}
    meter.became(sandbox(CREATED), sandbox(STARTING, **later))
    starting = sandbox(STARTING, phase=Phase.START, phase_at=NOW + timedelta(seconds=4))
    meter.became(starting, sandbox(RUNNING, updated_at=NOW + timedelta(seconds=10)))
    series = told(meter)
    for phase, seconds in (("build", 3), ("boot", 6), ("total", 10)):
        assert series[key("sandbox_create_duration_seconds_sum", phase=phase)] == seconds
        assert series[key("sandbox_create_duration_seconds_count", phase=phase)] == 1
    assert series[key("sandboxes_created_total", result="running")] == 1


def test_a_start_seen_only_afterwards_has_no_boot_time(meter: Meter) -> None:
    meter.became(sandbox(STARTING), sandbox(RUNNING))
    series = told(meter)
    assert series[key("sandbox_create_duration_seconds_count", phase="boot")] == 0
    assert series[key("sandbox_create_duration_seconds_count", phase="total")] == 1


def test_a_failed_creation_is_counted_as_such(meter: Meter) -> None:
    meter.became(sandbox(CREATED), sandbox(ERROR))
    assert told(meter)[key("sandboxes_created_total", result="failed")] == 1


def test_only_the_first_start_is_a_creation(meter: Meter) -> None:
    before = told(meter)
    meter.became(sandbox(STARTING, running_at=NOW), sandbox(RUNNING))
    meter.became(sandbox(RUNNING, running_at=NOW), sandbox(ERROR))
    meter.became(sandbox(STARTING), sandbox(SandboxState.STOPPED))
    assert told(meter) == before


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("lease_expired", "ttl"),
        ("imaged", "ttl"),
        ("drained", "drain"),
        ("deleted", "user"),
        ("reaped", "user"),
        ("running", "other"),
        ("\x1b[31m", "other"),
        (None, "other"),
    ],
)
def test_an_end_is_counted_under_a_known_reason(
    meter: Meter, code: str | None, reason: str
) -> None:
    gone = sandbox(SandboxState.DESTROYED, reason_code=code, updated_at=NOW + timedelta(seconds=90))
    meter.became(sandbox(RUNNING), gone)
    series = told(meter)
    assert series[key("sandboxes_destroyed_total", reason=reason)] == 1
    assert series[key("sandbox_lifetime_seconds_sum", reason=reason)] == 90


def test_every_reason_that_ends_a_sandbox_is_known() -> None:
    assert set(ENDINGS) == set(Ending)


def test_a_forgotten_sandbox_is_an_end_too(meter: Meter) -> None:
    meter.forgotten(sandbox(SandboxState.DESTROYED, reason_code="forgotten"))
    assert told(meter)[key("sandboxes_destroyed_total", reason="forgotten")] == 1


def test_expiries_bugs_and_lag(meter: Meter) -> None:
    meter.expired("destroy")
    meter.parked()
    meter.lagged(0.25)
    series = told(meter)
    assert series[key("sandboxes_expired_total", action="destroy")] == 1
    assert series[key("internal_errors_total")] == 1
    assert series[key("event_loop_lag_seconds")] == 0.25


def test_answers_are_timed_by_operation_and_class_of_status(meter: Meter) -> None:
    meter.answered("/v1/hosts/{name}", "GET", 200, 0.25)
    meter.answered("/v1/hosts/{name}", "GET", 204, 0.25)
    meter.answered("other", "other", 404, 0.001)
    series = told(meter)
    found = {"path": "/v1/hosts/{name}", "method": "GET", "status": "2xx"}
    assert series[key("http_request_duration_seconds_count", **found)] == 2
    assert series[key("http_request_duration_seconds_sum", **found)] == 0.5
    lost = {"path": "other", "method": "other", "status": "4xx"}
    assert series[key("http_request_duration_seconds_count", **lost)] == 1


def test_the_latest_audit_is_told_by_code(meter: Meter) -> None:
    def finding(code: FindingCode) -> Finding:
        return Finding(code=code, host_id="HST-1", host_name="alpha", message="", remedy="")

    unseen = HostAudit(host_id="HST-1", host_name="alpha", health="DOWN", audited=False)
    missing = finding(FindingCode.DOMAIN_MISSING)
    stray = Orphan(
        code=OrphanCode.STRAY_COPY,
        kind=OrphanKind.DOMAIN,
        host_id="HST-1",
        host_name="alpha",
        name="x",
        message="",
        remedy="",
    )
    assert key("audit_findings", code="domain_missing") not in told(meter), "nobody has looked yet"
    meter.audited(
        AuditReport(
            at=NOW, clean=False, findings=(missing, missing), orphans=(stray,), hosts=(unseen,)
        )
    )
    series = told(meter)
    assert series[key("audit_findings", code="domain_missing")] == 2
    assert series[key("audit_findings", code="leftover")] == 0
    assert series[key("audit_orphans", code="stray_copy")] == 1
    assert series[key("audit_unaudited_hosts")] == 1
    assert series[key("audit_timestamp_seconds")] == NOW.timestamp()
    meter.audited(AuditReport(at=NOW, clean=True, findings=(), orphans=(), hosts=()))
    assert told(meter)[key("audit_findings", code="domain_missing")] == 0


def test_what_is_stuck_is_counted_as_it_is_now(meter: Meter) -> None:
    assert told(meter)[key("stuck_parts")] == 0
    meter.stuck(2)
    meter.stuck(1)
    assert told(meter)[key("stuck_parts")] == 1
