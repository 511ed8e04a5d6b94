"""When builds are kept off a host, whom that blames, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from scheduler.lifecycle import breaker
from scheduler.lifecycle.breaker import (
    MOST_BREAKERS,
    MOST_OUTCOMES,
    BreakerRules,
    Outcome,
    outcome_of,
    remembered,
    tripped,
)
from scheduler.lifecycle.drift import judge
from scheduler.lifecycle.sightings import Absent
from scheduler.lifecycle.steps import (
    Barred,
    Become,
    Build,
    ConditionKind,
    Limits,
    Relocate,
    Step,
    Wait,
)
from scheduler.model import Breaker, Condition, Sandbox, SandboxState
from tests.lifecycle.samples import NOW, sandbox

RULES = BreakerRules()
FAILING = Condition(kind=ConditionKind.FAILING, message="no room", since=NOW)
IMAGE = sandbox().base_image


def end(code: str = "build_failed") -> Become:
    return Become(state=SandboxState.ERROR, reason_code=code, reason_message="no")


def up(state: SandboxState = SandboxState.RUNNING) -> Become:
    return Become(state=state, reason_code="x", reason_message="y")


@pytest.mark.parametrize(
    ("record", "step", "failure"),
    [
        (sandbox(conditions=(FAILING,)), end(), "no room"),
        (sandbox(conditions=(FAILING,)), end("start_failed"), "no room"),
        (
            sandbox(conditions=(FAILING,)),
            Relocate(reason_code="build_failed", reason_message="no", otherwise=end()),
            "no room",
        ),
        (sandbox(SandboxState.STARTING), up(), None),
        (sandbox(), up(SandboxState.STOPPED), None),
    ],
)
def test_an_end_of_coming_up_says_something_of_the_host(
    record: Sandbox, step: Step, failure: str | None
) -> None:
    outcome = outcome_of(record, step, NOW)
    assert outcome is not None
    assert (outcome.host_id, outcome.image, outcome.sandbox_id) == ("HST-1", IMAGE, "SBX-1")
    assert outcome.failure == failure


@pytest.mark.parametrize(
    ("record", "step"),
    [
        (sandbox(), end("start_failed")),  # a guest that died by itself
        (sandbox(conditions=(FAILING,)), end("provision_timeout")),
        (sandbox(conditions=(FAILING,)), up(SandboxState.STARTING)),
        (sandbox(SandboxState.STARTING, running_at=NOW, conditions=(FAILING,)), end()),
        (sandbox(SandboxState.RUNNING), up()),
        (sandbox(), Build()),
        (
            sandbox(conditions=(FAILING,)),
            Relocate(reason_code="host_unreachable", reason_message="no", otherwise=end()),
        ),
    ],
)
def test_other_steps_say_nothing_of_the_host(record: Sandbox, step: Step) -> None:
    assert outcome_of(record, step, NOW) is None


def ended(story: str) -> tuple[Outcome, ...]:
    """Read `a:x- b:x+` as: x failed on a, then came up on b; a sandbox and a second each."""
    outcomes: tuple[Outcome, ...] = ()
    for number, word in enumerate(story.split()):
        host, image = word[:-1].split(":")
        one = Outcome(
            host_id=host,
            image=image,
            sandbox_id=f"SBX-{number}",
            at=NOW + timedelta(seconds=number),
            failure="no" if word.endswith("-") else None,
        )
        outcomes = remembered(outcomes, one, RULES)
    return outcomes


def opens(story: str, *, barred: int = 0, hosts: int = 9) -> Sequence[str | None]:
    past = ended(story)
    return tripped(past, past[-1], RULES, barred=barred, hosts=hosts)


@pytest.mark.parametrize(
    ("story", "opened"),
    [
        ("a:x- a:x-", ()),
        ("a:x- a:x- a:x-", ("x",)),
        ("a:x- a:x- a:x+ a:x-", ()),
        ("a:x- a:x- b:x+ a:x-", ("x",)),  # another host's success is none of this one's
        ("a:x- a:y- a:z-", (None,)),
        ("a:x- a:y- a:x-", (None,)),
        ("a:x- a:y- a:z+ a:x-", ()),
        ("a:x- a:x- a:y+ a:x-", ("x",)),  # one image fails beside another that does not
        ("b:x- a:x- a:x- a:y-", ()),  # x fails on two hosts: it is blamed itself
        ("b:x- c:x- a:x- a:x- a:x-", ("x",)),
        ("b:x- b:x+ a:x- a:x- a:y-", (None,)),  # x came up since, so it is not to blame
        ("b:x- b:y- a:x- a:y- c:x- c:y- a:x- a:y- a:x-", ("x",)),
    ],
)
def test_whom_failures_blame(story: str, opened: Sequence[str | None]) -> None:
    assert opens(story) == opened


def test_only_a_share_of_the_fleet_is_barred_as_a_whole() -> None:
    story = "a:x- a:y- a:z-"
    assert opens(story, barred=2, hosts=9) == (None,)
    assert opens(story, barred=3, hosts=9) == ()
    assert opens(story, barred=0, hosts=1) == (None,)
    assert opens(story, barred=1, hosts=2) == ()


def test_a_sandbox_fails_a_host_once_and_old_failures_are_forgotten() -> None:
    (first,) = ended("a:x-")
    assert remembered((first,), first, RULES) == (first,)
    later = replace(first, sandbox_id="SBX-9", at=NOW + timedelta(seconds=601))
    assert remembered((first,), later, RULES) == (later,)
    set_back = replace(first, sandbox_id="SBX-9", at=NOW - timedelta(seconds=1))
    assert remembered((first,), set_back, RULES) == (set_back,)


def test_success_is_only_remembered_after_failure_and_memory_is_bounded() -> None:
    assert ended("a:x+ a:x+") == ()
    assert len(ended("a:x- a:x+")) == 2
    assert len(ended("a:x- " * (MOST_OUTCOMES // 2))) == MOST_OUTCOMES // 2
    many = ended("a:x- " * 10) * 100
    assert len(remembered(many, replace(many[-1], sandbox_id="SBX-new"), RULES)) == MOST_OUTCOMES


def opened(*breakers: Breaker, image: str | None = None, now: datetime = NOW) -> Breaker:
    return breaker.opened(breakers, image, reason="no room", now=now, rules=RULES)[-1]


def test_each_opening_in_a_row_lasts_twice_as_long_up_to_half_an_hour() -> None:
    one, pauses = opened(), []
    for _ in range(8):
        pauses.append((one.retry_at - one.since).total_seconds())
        one = opened(one)
    assert pauses == [60, 120, 240, 480, 960, 1800, 1800, 1800]
    assert opened(one, image="x").openings == 1


def test_a_host_has_a_bounded_number_of_breakers() -> None:
    all_of_them: tuple[Breaker, ...] = ()
    for number in range(MOST_BREAKERS + 5):
        all_of_them = breaker.opened(
            all_of_them, f"image-{number}", reason="no", now=NOW, rules=RULES
        )
    assert len(all_of_them) == MOST_BREAKERS
    assert all_of_them[-1].image == f"image-{MOST_BREAKERS + 4}"


def barred(*breakers: Breaker, after: float = 0, id: str = "SBX-1") -> Barred | None:
    now = NOW + timedelta(seconds=after)
    return breaker.barred(breakers, sandbox(id=id), host_name="alpha", now=now)


def test_while_it_is_open_nobody_is_built_there() -> None:
    whole, other, own = opened(), opened(image="other"), opened(image=IMAGE)
    assert barred() is None
    assert barred(other) is None
    told = barred(other, own)
    assert told == Barred(
        message=f"alpha builds nothing from {IMAGE} until 12:01:00 UTC: "
        "too many builds failed there: no room",
        probing=False,
    )
    of_all = barred(whole)
    assert of_all is not None
    assert of_all.message.startswith("alpha builds nothing until 12:01:00 UTC")
    assert barred(whole, after=60) is None
    assert barred(whole, after=-1) is None, "a clock that was set back keeps nobody out"


def test_half_open_lets_one_through_and_the_next_one_after_a_pause() -> None:
    whole = opened()
    one, two = sandbox(id="SBX-1"), sandbox(id="SBX-2")
    assert breaker.half_open((whole,), one)
    assert not breaker.half_open((opened(image="other"),), one)
    probing = breaker.admitted(
        (whole, opened(image="other")), one, now=NOW + timedelta(seconds=60), rules=RULES
    )
    assert [each.probe for each in probing] == ["SBX-1", None]
    assert not breaker.half_open(probing, one)
    assert breaker.half_open(probing, two)
    assert breaker.probed(probing, "SBX-1") == probing[:1]
    assert barred(*probing, after=61, id="SBX-1") is None
    kept_out = barred(*probing, after=61, id="SBX-2")
    assert kept_out is not None
    assert kept_out.probing
    assert barred(*probing, after=120, id="SBX-2") is None


def test_success_closes_what_concerned_it() -> None:
    all_of_them = (opened(), opened(image=IMAGE), opened(image="other"))
    assert breaker.closed(all_of_them, IMAGE) == all_of_them[2:]


def test_who_is_kept_out_goes_elsewhere_or_waits() -> None:
    def judged(record: Sandbox, *, probing: bool = False, limits: Limits | None = None) -> Step:
        kept_out = Barred(message="alpha builds nothing", probing=probing)
        return judge(record, Absent(), now=NOW, limits=limits or Limits(), barred=kept_out)

    step = judged(sandbox())
    assert isinstance(step, Relocate)
    assert step.reason_code == "breaker_open"
    waiting = Wait(code="breaker_open", message="alpha builds nothing")
    assert step.otherwise == waiting
    assert judged(sandbox(), limits=Limits(build_hosts=1)) == waiting
    assert judged(sandbox(SandboxState.STARTING, running_at=NOW)) == waiting
    assert judged(sandbox(), probing=True) == replace(waiting, code="breaker_probing")
