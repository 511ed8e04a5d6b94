"""Runs of playbooks: kept whole, listed, and written only as they were read."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from scheduler.errors import Conflict, NotFound
from scheduler.model import PlaybookRun, PlayStatus, Recap
from scheduler.store import ListOptions, Store, Transaction
from tests.store.samples import later, playbook_run


async def test_a_run_comes_back_as_it_was_written(store: Store) -> None:
    run = playbook_run()
    await store.submit(lambda tx: tx.playbook_runs.add(run))
    assert await store.read(lambda tx: tx.playbook_runs.get("RUN-1")) == run
    (play,) = run.plays
    recap = Recap(ok=1, failed=2)
    done = replace(
        play, status=PlayStatus.FAILED, recap=recap, reason="no", log="x", started_at=later(1)
    )
    ended = replace(run, plays=(done,), ended_at=later(2))
    written = await store.submit(lambda tx: tx.playbook_runs.replace(ended))
    assert (written.generation, written.plays) == (2, (done,))
    assert await store.read(lambda tx: tx.playbook_runs.get("RUN-1")) == written
    with pytest.raises(Conflict, match="was changed meanwhile"):
        await store.submit(lambda tx: tx.playbook_runs.replace(ended))
    with pytest.raises(NotFound):
        await store.read(lambda tx: tx.playbook_runs.get("RUN-2"))


async def test_runs_are_listed_newest_first_and_worked_on_oldest_first(store: Store) -> None:
    for number in (1, 2, 3):
        run = playbook_run(f"RUN-{number}", asked_at=later(number), check=False)
        over = replace(run, ended_at=later(9)) if number == 2 else run
        await store.submit(partial(_added, over))
    other = playbook_run("RUN-4", playbook_id="PBK-2")
    await store.submit(lambda tx: tx.playbook_runs.add(other))
    page = await store.read(lambda tx: tx.playbook_runs.find("PBK-1", ListOptions(limit=2)))
    assert [one.id for one in page.items] == ["RUN-3", "RUN-2"]
    unfinished = await store.read(lambda tx: tx.playbook_runs.unfinished())
    assert [one.id for one in unfinished] == ["RUN-4", "RUN-1", "RUN-3"]


def _added(run: PlaybookRun, tx: Transaction) -> PlaybookRun:
    return tx.playbook_runs.add(run)
