"""The page as a whole: clean by Prometheus's own linter, bounded, without a series per sandbox."""

from __future__ import annotations

import subprocess
from datetime import timedelta

import pytest

from scheduler.metrics.meter import Meter
from scheduler.metrics.page import MetricsPage
from scheduler.metrics.snapshot import MetricsSnapshot
from scheduler.model import Drain, HostState, SandboxState
from scheduler.release import Release
from tests.clocks import ManualClock
from tests.metrics.reading import key, read
from tests.metrics.samples import NOW, called, host, sandbox


def page(snapshot: MetricsSnapshot) -> MetricsPage:
    clock = ManualClock(NOW)
    meter = Meter(clock)
    meter.decided("placed", {"memory": 1}, 0.001)
    meter.passed("poll", 0.01)
    meter.expired("stop")
    meter.backed_up(NOW)
    meter.drained("finished")
    meter.compared("computed", 0.1)
    meter.command_ended("exited", 1.5)
    meter.parked()
    meter.lagged(0.1)
    meter.became(sandbox(SandboxState.CREATED), sandbox(SandboxState.STARTING))
    meter.became(sandbox(SandboxState.RUNNING), sandbox(SandboxState.DESTROYED))
    return MetricsPage(
        meter, lambda: snapshot, clock, release=Release(version="1.2.3", revision="abc")
    )


FULL = MetricsSnapshot(
    taken_at=NOW,
    hosts=(
        host(max_sandboxes=5, state=HostState.DRAINING, unmanaged_cpus=1),
        host(id="HST-2", name="beta", observed_at=None),
    ),
    sandboxes={("HST-1", SandboxState.RUNNING): 3},
    drains=(
        Drain(
            id="DRN-1",
            host_id="HST-1",
            host_name="alpha",
            actor="ana",
            started_at=NOW,
            deadline_at=NOW + timedelta(hours=1),
        ),
    ),
    expired=1,
    placeable=3,
    calls=called(),
)


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("snapshot", [FULL, MetricsSnapshot()], ids=["full", "empty"])
def test_prometheus_finds_nothing_to_complain_about(snapshot: MetricsSnapshot) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=page(snapshot).render(),
        capture_output=True,
        timeout=180,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_page_has_meter_snapshot_and_process() -> None:
    series = read(page(FULL).render())
    assert series[key("scheduler_decisions_total", result="placed")] == 1
    assert series[key("host_up", host="alpha")] == 1
    names = {name for name, _ in series}
    assert "process_resident_memory_bytes" in names
    assert "python_info" in names
    (built,) = (dict(labels) for name, labels in series if name == "sandboxd_build_info")
    assert (built["version"], built["revision"]) == ("1.2.3", "abc")


def test_every_series_of_ours_has_the_prefix_and_a_known_label() -> None:
    known = {
        "host", "pool", "state", "health", "result", "filter", "phase", "reason", "action", "kind",
        "controller", "le", "version", "revision", "python_version", "address", "arch", "scope",
        "hypervisor_version", "libvirt_version", "transport", "failure", "fault", "operation",
        "forge", "status", "call", "code",
    }  # fmt: skip
    for name, labels in read(page(FULL).render()):
        if name.startswith(("process_", "python_")):
            continue
        assert name.startswith("sandboxd_")
        assert {label for label, _ in labels} <= known


def test_times_of_creation_are_left_out() -> None:
    assert b"_created{" not in page(FULL).render()
    assert b"_created " not in page(FULL).render()


def test_hostile_names_stay_within_their_label() -> None:
    evil = 'a"} 1\nforged_total 5\n\\'
    series = read(page(MetricsSnapshot(hosts=(host(address=evil),))).render())
    assert not [name for name, _ in series if name.startswith("forged")]
    assert any(("address", evil) in labels for _, labels in series)
