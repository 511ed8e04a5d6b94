"""The alert rules are valid, ask for what the page has, and fire when and only when they should."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from scheduler.metrics import Meter, MetricsPage, MetricsSnapshot
from scheduler.model import Drain
from scheduler.release import Release
from scheduler.service.audits import AuditReport
from tests.clocks import ManualClock
from tests.deploy.paths import DEPLOY
from tests.metrics.reading import Series, read
from tests.metrics.samples import NOW, called, host

RULES = DEPLOY / "alerts.yml"
CASES = Path(__file__).with_name("alerts_test.yml")
SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""
needs_promtool = pytest.mark.needs("promtool")


def promtool(*words: str | Path) -> None:
    """Run promtool, which must find nothing wrong."""
    checked = subprocess.run(
        ["promtool", *words], capture_output=True, text=True, timeout=180, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return found


def cases() -> list[dict[str, Any]]:
    """Return the cases that the rules are tried on."""
    found: list[dict[str, Any]] = yaml.safe_load(CASES.read_text())["tests"]
    return found


def page() -> Series:
    """Return what a daemon with a host and a drain tells, whose loops have all run."""
    clock = ManualClock()
    meter = Meter(clock)
    for loop in ("reap", "drain", "clock", "poll", "retention"):
        meter.passed(loop, 0.1)
    meter.backed_up(NOW)
    meter.audited(AuditReport(at=NOW, clean=True, findings=(), orphans=(), hosts=()))
    drain = Drain(
        id="DRN-1",
        host_id="HST-1",
        host_name="alpha",
        actor="ana",
        remaining=1,
        started_at=NOW,
        deadline_at=NOW + timedelta(hours=1),
    )
    snapshot = MetricsSnapshot(hosts=(host(),), drains=(drain,), placeable=1, calls=called())
    return read(MetricsPage(meter, lambda: snapshot, clock, release=Release(version="1")).render())


def series() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the name and the labels of every series that the cases give."""
    for case in cases():
        for given in case["input_series"]:
            name, _, labels = given["series"].partition("{")
            yield name, dict(re.findall(r'(\w+)="([^"]*)"', labels))


@needs_promtool
def test_prometheus_understands_the_rules() -> None:
    promtool("check", "rules", RULES)


@needs_promtool
def test_they_fire_when_they_should_and_are_silent_otherwise() -> None:
    promtool("test", "rules", CASES)


def test_every_alert_has_a_case_where_it_fires_and_one_where_it_is_silent() -> None:
    tried = [one for case in cases() for one in case["alert_rule_test"]]
    names = {rule["alert"] for rule in rules()}
    assert {one["alertname"] for one in tried} == names
    assert {one["alertname"] for one in tried if one["exp_alerts"]} == names
    assert {one["alertname"] for one in tried if not one["exp_alerts"]} == names


def test_the_cases_are_made_of_series_that_the_page_has() -> None:
    """A rule that joins two series is only proven on the labels that they really have."""
    known = {(name, frozenset(key for key, _ in labels)) for name, labels in page()}
    for name, labels in series():
        assert set(labels) >= SCRAPED, name
        assert (name, frozenset(set(labels) - SCRAPED)) in known, (name, labels)


def test_the_rules_ask_for_metrics_that_exist() -> None:
    known = {name for name, _ in page()}
    found = rules()
    assert len(found) >= 8
    for rule in found:
        asked = set(re.findall(r"(?:sandboxd|process)_[a-z_]+", rule["expr"]))
        assert asked
        assert asked <= known, rule["alert"]
        assert {"summary", "description"} <= set(rule["annotations"])
