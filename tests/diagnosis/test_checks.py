"""What counts as healthy, and how much must be left."""

from __future__ import annotations

import pytest

from scheduler.diagnosis.checks import Check, Verdict, healthy, share_verdict


def check(verdict: Verdict) -> Check:
    return Check(subject="alpha", name="pool", verdict=verdict, message="said")


def test_only_a_failure_is_unhealthy() -> None:
    fine = [check(verdict) for verdict in Verdict if verdict is not Verdict.FAILED]
    assert healthy(fine)
    assert not healthy([*fine, check(Verdict.FAILED)])
    assert healthy([])


@pytest.mark.parametrize(
    ("left", "verdict"),
    [
        (0.0, Verdict.FAILED),
        (0.049, Verdict.FAILED),
        (0.05, Verdict.WARNING),
        (0.149, Verdict.WARNING),
        (0.15, Verdict.OK),
        (1.0, Verdict.OK),
    ],
)
def test_what_is_left_is_judged_by_its_share(left: float, verdict: Verdict) -> None:
    assert share_verdict(left, warn_below=0.15, fail_below=0.05) is verdict
