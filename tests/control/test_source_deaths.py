"""A daemon dies at each commit of a preparation, and the next one goes on from there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler.guests.source_scripts import ACCOUNT
from scheduler.sources.preparations import Outcome, StepName, StepState
from tests.control.test_sources import Yard, yard_in

COMMITS = 2 * len(StepName)
"""Each step is recorded when it is begun, and when it is done."""
MIDDLE = 2 * list(StepName).index(StepName.CONFIGURE) + 1
LEFT = "find /etc -path '/etc/ssh/.sandboxd-*' -o -name '*.sandboxd-new'"
"""Finds drafts, of which none may be left."""


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard_in(tmp_path) as made:
        yield made


class Death(BaseException):
    """The daemon is gone."""


async def _killed_after(yard: Yard, commits: int) -> bool:
    """Prepare with a daemon that dies after so many commits; return whether it did."""
    left = commits

    def told() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Death

    asked = await yard.ask()
    try:
        await yard.preparer(told).prepare(asked.id or "")
    except Death:
        return True
    return False


@pytest.mark.parametrize(
    "commit",
    [
        pytest.param(number, marks=() if number == MIDDLE else pytest.mark.slow)
        for number in range(1, COMMITS + 1)
    ],
)
async def test_i9_a_preparation_cut_short_goes_on_with_the_next_daemon(
    yard: Yard, commit: int
) -> None:
    assert await _killed_after(yard, commit)
    before = {step.name: step.state for step in (await yard.preparation()).steps}
    done = [name for name, state in before.items() if state is StepState.DONE]
    assert done == list(StepName)[: commit // 2], "nothing is believed done before it was"
    pending = await yard.preparer().pending()
    assert len(pending) == (commit < COMMITS)
    for source_id in pending:
        await yard.preparer().prepare(source_id)
    after = await yard.preparation()
    assert (after.outcome, {step.state for step in after.steps}) == (
        Outcome.PREPARED,
        {StepState.DONE},
    )
    assert await yard.events() == ["source.prepare_requested", "source.prepared"]
    assert yard.sshd.read("/etc/passwd").count(f"{ACCOUNT}:") == 1
    assert (await yard.look("uptime")).exit_code == 0
    assert yard.sshd.run("sh", "-c", LEFT) == ""


async def test_there_are_no_more_commits_than_these(yard: Yard) -> None:
    assert not await _killed_after(yard, COMMITS + 1)
    assert (await yard.report()).prepared
