"""The noise rules: what they hide, what they must not, and what a request may add."""

from __future__ import annotations

import pytest

from scheduler.changes.globs import fault
from scheduler.changes.noise import DEFAULT_NOISE, FRESH_CLONE_NOISE
from scheduler.errors import Invalid


@pytest.mark.parametrize(
    "path",
    [
        "/var/log/syslog",
        "/tmp/x/y",
        "/root/.bash_history",
        "/home/me/.python_history",
        "/etc/machine-id",
        "/etc/passwd-",
        "/etc/subuid-",
        "/usr/local/lib/x/__pycache__/y.pyc",
        "/etc/.motd.swp",
        "/root/.ansible",
    ],
)
def test_noise(path: str) -> None:
    assert DEFAULT_NOISE.rule_for(path)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/etc/ssh/sshd_config",
        "/etc/hostname",
        "/etc/logrotate.d/x",
        "/srv/app.log",
        "/var/lib/app/data",
        "/root/.bashrc",
        "/etc/alternatives2",
        "/home/me/.ssh/authorized_keys",
    ],
)
def test_what_somebody_may_have_meant_is_no_noise(path: str) -> None:
    assert DEFAULT_NOISE.rule_for(path) is None


def test_rules_of_a_manager_hold_only_where_it_was_asked() -> None:
    status = "/var/lib/dpkg/status"
    assert DEFAULT_NOISE.among(["dpkg", None]).rule_for(status)
    assert DEFAULT_NOISE.among(["rpm", None]).rule_for(status) is None


def test_every_rule_can_be_used_and_says_why() -> None:
    rules = (*DEFAULT_NOISE.paths, *FRESH_CLONE_NOISE)
    assert not [one for one in rules if fault(one.pattern) or not one.reason]
    patterns = [(one.pattern, one.told_by) for one in rules]
    assert len(set(patterns)) == len(patterns)


def test_a_request_adds_patterns() -> None:
    wider = DEFAULT_NOISE.with_paths(["/srv/**/*.log"])
    assert wider.rule_for("/srv/a/app.log") == "/srv/**/*.log"
    assert DEFAULT_NOISE.rule_for("/srv/a/app.log") is None


@pytest.mark.parametrize("patterns", [["srv"], ["/a"] * 65])
def test_patterns_that_are_no_good_are_refused(patterns: list[str]) -> None:
    with pytest.raises(Invalid):
        DEFAULT_NOISE.with_paths(patterns)
