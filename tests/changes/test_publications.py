"""The next step of a publication, and what each outcome makes of it: values in, values out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.changes import publications as rules
from scheduler.changes.publications import Rules, Step
from scheduler.changes.request_texts import LONGEST_TEXT, commit_message, request_text
from scheduler.model import (
    ChangeSet,
    Publication,
    PublicationStatus,
    Remainder,
    Verification,
    VerificationResult,
)
from tests.clocks import START

NOW = START
PENDING, COMMITTED = PublicationStatus.PENDING, PublicationStatus.COMMITTED
PR_CREATED, MERGED = PublicationStatus.PR_CREATED, PublicationStatus.MERGED
FAILED = PublicationStatus.FAILED
RULES = Rules(attempts=3, poll_seconds=600, follow_seconds=86400)


def publication(status: PublicationStatus = PENDING, **fields: object) -> Publication:
    given: dict[str, object] = {
        "id": "PUB-1",
        "job_id": "JOB-1",
        "repo_url": "https://forge.example/infra/site.git",
        "branch": "change/one",
        "change_set_id": "CHG-1",
        "folder": "sandboxd/JOB-1",
        "title": "Apply it",
        "status": status,
        "created_at": START,
        "updated_at": START,
    }
    return Publication(**given | fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (PENDING, Step.COMMIT),
        (COMMITTED, Step.PROPOSE),
        (PR_CREATED, Step.FOLLOW),
        (MERGED, Step.REST),
        (FAILED, Step.REST),
    ],
)
def test_each_status_has_its_step(status: PublicationStatus, step: Step) -> None:
    assert rules.next_step(publication(status), NOW) is step
    waiting = publication(status, retry_at=NOW + timedelta(seconds=9))
    assert rules.next_step(waiting, NOW) is (step if step is Step.REST else Step.WAIT)
    assert rules.pause_seconds(waiting, NOW) == 9
    assert rules.next_step(waiting, NOW + timedelta(seconds=9)) is step


def test_a_pause_of_a_clock_that_was_wrong_is_over() -> None:
    ahead = timedelta(hours=1)
    waiting = publication(retry_at=NOW + ahead, updated_at=NOW + ahead - timedelta(seconds=9))
    assert rules.next_step(waiting, NOW) is Step.COMMIT
    assert rules.next_step(waiting, NOW + ahead - timedelta(seconds=5)) is Step.WAIT


def test_the_way_forward() -> None:
    planned = rules.planned(
        publication(), base="main", base_sha="b" * 40, commit_sha="c" * 40, now=NOW
    )
    assert (planned.status, planned.planned_sha, planned.commit_sha) == (PENDING, "c" * 40, None)
    anew = rules.unplanned(planned, now=NOW)
    assert (anew.base, anew.base_sha, anew.planned_sha) == ("main", None, None)
    troubled = replace(planned, attempts=2, retry_at=NOW, reason_code="deferred", error_msg="x")
    committed = rules.committed(troubled, now=NOW)
    assert (committed.status, committed.commit_sha) == (COMMITTED, "c" * 40)
    assert (committed.attempts, committed.retry_at, committed.error_msg) == (0, None, None)
    opened = rules.opened(committed, number=7, url="https://f/7", notes=("n",), now=NOW)
    assert (opened.status, opened.pr_number, opened.opened_at) == (PR_CREATED, 7, NOW)
    assert rules.merged(opened, now=NOW).status is MERGED


@given(st.integers(0, 80_000))
def test_an_open_request_is_looked_at_ever_less_often(age: int) -> None:
    seen = rules.still_open(
        publication(PR_CREATED, opened_at=NOW, attempts=2),
        RULES,
        now=NOW + timedelta(seconds=age),
    )
    assert seen.retry_at is not None
    pause = (seen.retry_at - NOW).total_seconds() - age
    assert rules.FIRST_LOOK_SECONDS - 1e-6 <= pause <= RULES.poll_seconds
    assert seen.attempts == 0


def test_a_request_that_nobody_decides_on_is_given_up() -> None:
    open_ = publication(PR_CREATED, opened_at=NOW, pr_url="https://f/7")
    late = NOW + timedelta(seconds=RULES.follow_seconds)
    ended = rules.still_open(open_, RULES, now=late)
    assert (ended.status, ended.reason_code) == (FAILED, "undecided")
    again = rules.retried(ended, now=late)
    assert (again.status, again.opened_at) == (PR_CREATED, late)
    assert rules.still_open(publication(PR_CREATED), RULES, now=NOW).status is PR_CREATED


def test_pauses_grow_and_attempts_end() -> None:
    one = publication(COMMITTED)
    pauses = []
    for _ in range(RULES.attempts - 1):
        one = rules.deferred(one, "no net", RULES, now=NOW)
        pauses.append(rules.pause_seconds(one, NOW))
    assert pauses == [5.0, 10.0]
    ended = rules.deferred(one, "no net", RULES, now=NOW)
    assert (ended.status, ended.reason_code, ended.attempts) == (FAILED, "attempts_exhausted", 3)
    assert ended.error_msg == "given up after 3 attempts; the last: no net"


def test_a_request_is_followed_through_any_trouble_of_its_forge() -> None:
    one = publication(PR_CREATED, opened_at=NOW, pr_url="https://f/7")
    now, pauses = NOW, []
    while one.status is PR_CREATED:
        one = rules.deferred(one, "no net", RULES, now=now)
        pauses.append(rules.pause_seconds(one, now))
        now += timedelta(seconds=pauses[-1])
    assert pauses[:9] == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0]
    assert sum(pauses) == pytest.approx(RULES.follow_seconds, abs=RULES.poll_seconds)
    assert (one.status, one.reason_code) == (FAILED, "undecided")
    assert one.error_msg == "it was followed for 1 days; the last look at the request: no net"
    again = rules.retried(one, now=now)
    assert rules.deferred(again, "no net", RULES, now=now).status is PR_CREATED


@given(st.integers(0, 90), st.one_of(st.none(), st.floats(0, 10**9)))
def test_no_pause_is_longer_than_is_borne(attempts: int, patience: float | None) -> None:
    many = Rules(attempts=100)
    one = rules.deferred(
        publication(attempts=attempts), "x", many, now=NOW, retry_after_seconds=patience
    )
    pause = rules.pause_seconds(one, NOW)
    assert rules.FIRST_PAUSE_SECONDS <= pause <= 3600
    assert pause >= min(patience or 0, 3600) - 1e-3


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, PENDING),
        ({"commit_sha": "c"}, COMMITTED),
        ({"commit_sha": "c", "pr_url": "https://f/7"}, PR_CREATED),
    ],
)
def test_a_retry_goes_on_from_what_is_proven(
    fields: dict[str, Any], status: PublicationStatus
) -> None:
    failed = rules.failed(replace(publication(), **fields), "rejected", "no" * 3000, now=NOW)
    assert (failed.status, failed.reason_code) == (FAILED, "rejected")
    assert len(failed.error_msg or "") == rules.LONGEST_MESSAGE
    again = rules.retried(replace(failed, attempts=5), now=NOW)
    assert (again.status, again.error_msg, again.attempts) == (status, None, 0)


def test_a_branch_that_is_gone_takes_its_commit_with_it() -> None:
    gone = rules.failed(
        publication(COMMITTED, commit_sha="c", planned_sha="c"), "branch_gone", "x", now=NOW
    )
    assert rules.retried(gone, now=NOW).status is PENDING
    assert gone.planned_sha is None


def test_what_reviewers_read() -> None:
    change_set = ChangeSet(
        id="CHG-1",
        job_id="JOB-1",
        sandbox_id="SBX-1",
        diff_id="DIF-1",
        path_ansible="a",
        path_puppet="p",
        created_at=NOW,
    )
    plain = publication()
    assert commit_message(plain) == "Apply it\n\nChange-Set: CHG-1\nJob: JOB-1\n"
    assert request_text(plain, change_set) == (
        "- change set `CHG-1` of job `JOB-1`\n"
        "- recorded in sandbox `SBX-1`, diff `DIF-1`\n"
        "- everything is in `sandboxd/JOB-1/`\n"
        "- **not verified**: nobody has tried it on a fresh clone"
    )
    wordy = publication(message="w" * 2 * LONGEST_TEXT)
    assert commit_message(wordy).startswith("Apply it\n\nwww")
    assert len(request_text(wordy, change_set)) == LONGEST_TEXT


@pytest.mark.parametrize(
    ("result", "reviewed", "told"),
    [
        (None, 0, "**not verified**: nobody has tried it on a fresh clone"),
        (VerificationResult.FAILED, 0, "verification on a fresh clone: **FAILED**"),
        (VerificationResult.PASSED, 0, "which then was what the sandbox was"),
        (VerificationResult.PASSED, 2, "was, but for 2 that `REVIEW.md` lists"),
    ],
)
def test_reviewers_are_told_what_proved_it(
    result: VerificationResult | None, reviewed: int, told: str
) -> None:
    verification = Verification(
        change_set_id="CHG-1",
        result=result,
        remaining=tuple(
            Remainder(kind="path", name=f"/etc/{number}", difference="missing", reviewed=True)
            for number in range(reviewed)
        ),
        actor="uid:0",
        started_at=NOW,
        updated_at=NOW,
    )
    change_set = ChangeSet(
        id="CHG-1",
        job_id="JOB-1",
        sandbox_id="SBX-1",
        diff_id="DIF-1",
        path_ansible="a",
        path_puppet="p",
        created_at=NOW,
    )
    assert request_text(publication(), change_set, verification).endswith(told)
