"""docs/metrics.md tells of every family what the page tells, and of no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from prometheus_client.core import Metric

from scheduler.metrics import Meter, MetricsPage, MetricsSnapshot
from scheduler.model import AuthorityState, Drain, HostState, SshAuthority
from scheduler.release import Release
from scheduler.service.audits import AuditReport
from scheduler.store import Condition
from tests.clocks import ManualClock
from tests.metrics.samples import NOW, called, host

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
_ROW = re.compile(r"^\| `(sandboxd_[a-z_]+)` \| ([a-z]+) \| (.*?) \| (.*) \|$", re.MULTILINE)
_TOTAL = "_total"
_INTERNAL = {"le"}
"""What the format itself adds to a histogram."""
_UNITS = ("_seconds", "_bytes", "_cores", "_total", "_info")


class Family(NamedTuple):
    """One family as both tell it."""

    name: str
    type: str
    labels: frozenset[str]
    meaning: str


def told() -> set[Family]:
    """Return the families of a page on which everything has happened once."""
    clock = ManualClock(NOW)
    meter = Meter(clock)
    meter.answered("/healthz", "GET", 200, 0.1)
    meter.decided("placed", {"cpu": 1}, 0.1)
    meter.passed("poll", 0.1)
    meter.backed_up(NOW)
    meter.audited(AuditReport(at=NOW, clean=True, findings=(), orphans=(), hosts=()))
    page = MetricsPage(meter, snapshot, clock, release=Release(version="1"))
    return {family(each) for each in page.families() if each.name.startswith("sandboxd_")}


def snapshot() -> MetricsSnapshot:
    """Return a fleet in which each kind of series has one."""
    authority = SshAuthority(
        id="SCA-1",
        name="ssh-ca.1",
        state=AuthorityState.KEPT,
        fingerprint="SHA256:x",
        created_at=NOW,
        created_by="system",
    )
    drain = Drain(
        id="DRN-1", host_id="HST-1", host_name="alpha", actor="a", started_at=NOW, deadline_at=NOW
    )
    return MetricsSnapshot(
        hosts=(host(max_sandboxes=1, state=HostState.DRAINING),),
        drains=(drain,),
        authorities=(authority,),
        store=Condition(),
        placeable=1,
        calls=called(),
    )


def family(metric: Metric) -> Family:
    counted = _TOTAL if metric.type == "counter" else ""
    labels = {name for sample in metric.samples for name in sample.labels} - _INTERNAL
    name = metric.name + counted
    return Family(name, metric.type, frozenset(labels), metric.documentation)


def documented() -> list[Family]:
    """Return the rows of the document."""
    return [
        Family(name, kind, frozenset(re.findall(r"`(\w+)`", labels)), meaning)
        for name, kind, labels, meaning in _ROW.findall(DOCUMENT.read_text())
    ]


def test_every_family_is_documented_as_it_is() -> None:
    rows = documented()
    assert len(rows) == len(set(rows))
    assert set(rows) == told()


def test_a_name_says_its_unit_or_counts_things() -> None:
    """Base units only: a name that ends in none of them is a number of what it names."""
    for each in told():
        assert not re.search(r"_(ms|mb|kb|minutes|percent)(_|$)", each.name), each.name
        assert each.name.endswith(_TOTAL) is (each.type == "counter"), each.name
        if "duration" in each.name or "timestamp" in each.name:
            assert each.name.endswith(_UNITS), each.name
