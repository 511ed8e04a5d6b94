"""The alert rules are valid and ask only for metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml

from scheduler.metrics import Meter, MetricsPage, MetricsSnapshot
from tests.clocks import ManualClock
from tests.deploy.paths import DEPLOY

RULES = DEPLOY / "alerts.yml"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_understands_the_rules() -> None:
    checked = subprocess.run(
        ["promtool", "check", "rules", RULES],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_rules_ask_for_metrics_that_exist() -> None:
    clock = ManualClock()
    page = MetricsPage(Meter(clock), MetricsSnapshot, clock, version="1").render().decode()
    known = set(re.findall(r"^# TYPE (\S+) ", page, re.MULTILINE))
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    assert len(rules) >= 8
    for rule in rules:
        asked = set(re.findall(r"sandboxd_[a-z_]+", rule["expr"]))
        assert asked
        assert asked <= known, rule["alert"]
        assert {"summary", "description"} <= set(rule["annotations"])
