"""Runs of playbooks: ask for one, look, wait, cancel. A loop plays what was stored when asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

from scheduler import ids
from scheduler.clock import Clock
from scheduler.errors import Conflict, Invalid, QuotaExceeded
from scheduler.model import Event, PlaybookRun, PlayStatus, SandboxPlay
from scheduler.service.commands import check_open
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.playbook_reports import PlaybookReport, rendered, report_of
from scheduler.service.playbook_requests import RunPlaybook
from scheduler.service.sandboxes import by_reference
from scheduler.store import ListOptions, Page, Store, Transaction

DEFAULT_SECONDS = 1200
MOST_UNFINISHED = 100
"""Runs that wait or are played; beyond it none is taken."""


class PlaybookRunService:
    """What users do with runs; `wake` tells the loop of one."""

    def __init__(
        self, store: Store, clock: Clock, *, journal: Journal, wake: Callable[[str], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._journal = journal
        self._wake = wake

    async def run(
        self, name: str, request: RunPlaybook, intent: Intent[PlaybookRun]
    ) -> PlaybookRun:
        """Record that a playbook is to be played on sandboxes, as it is now.

        Raises `Conflict` unless all of them run and Ansible may take the playbook.
        """
        report = await self._store.read(lambda tx: report_of(tx, tx.playbooks.by_name(name)))
        text = await asyncio.to_thread(rendered, report)
        unit = partial(self._record, report, text, request, intent.actor)
        return self._committed(await self._store.submit(intent.once(unit)))

    async def get(self, run_id: str) -> PlaybookRun:
        """Return a run; raises `NotFound`."""
        return await self._store.read(lambda tx: tx.playbook_runs.get(run_id))

    async def find(self, name: str, options: ListOptions) -> Page[PlaybookRun]:
        """Return a page of a playbook's runs without what they said, newest first."""

        def unit(tx: Transaction) -> Page[PlaybookRun]:
            return tx.playbook_runs.find(tx.playbooks.by_name(name).id, options)

        page = await self._store.read(unit)
        return replace(page, items=tuple(map(_brief, page.items)))

    async def wait(self, run_id: str, seconds: float) -> PlaybookRun:
        """Return the run once it has ended, or when `seconds` are over."""
        return await self._journal.until(lambda: self.get(run_id), lambda run: run.over, seconds)

    async def cancel(self, run_id: str, intent: Intent[PlaybookRun]) -> PlaybookRun:
        """Have what is played of a run ended, and the rest never begun."""
        unit = partial(self._ask_cancel, run_id, intent.actor)
        return self._committed(await self._store.submit(intent.once(unit)))

    def _committed(self, run: PlaybookRun) -> PlaybookRun:
        self._journal.poke()
        self._wake(run.id)
        return run

    def _record(
        self,
        report: PlaybookReport,
        text: str,
        request: RunPlaybook,
        actor: str,
        tx: Transaction,
    ) -> PlaybookRun:
        playbook = tx.playbooks.by_name(report.name)
        if (playbook.id, playbook.revision) != (report.id, report.revision):
            raise Conflict(
                f"playbook {report.name} was edited meanwhile", remedy="ask for the run again"
            )
        if playbook.checked_revision == playbook.revision and playbook.check_fault:
            raise Conflict(
                f"Ansible does not take playbook {report.name}",
                remedy=f"see what it says: sandboxctl playbook check {report.name}",
            )
        if len(tx.playbook_runs.unfinished()) >= MOST_UNFINISHED:
            raise QuotaExceeded(
                f"{MOST_UNFINISHED} runs wait or are played, and no more are taken",
                remedy="wait until one has ended, or cancel one",
                details={"limit": MOST_UNFINISHED, "retry_after": 30},
            )
        now = self._clock.now()
        run = PlaybookRun(
            id=ids.new_id(ids.Prefix.RUN),
            playbook_id=report.id,
            playbook_name=report.name,
            revision=report.revision,
            yaml=text,
            check=request.check,
            timeout_seconds=request.timeout_seconds or DEFAULT_SECONDS,
            plays=_plays(request, tx),
            actor=actor,
            asked_at=now,
            updated_at=now,
        )
        tx.playbook_runs.add(run)
        tx.events.add(run_event("requested", run, at=now, actor=actor))
        return run

    def _ask_cancel(self, run_id: str, actor: str, tx: Transaction) -> PlaybookRun:
        before, now = tx.playbook_runs.get(run_id), self._clock.now()
        if before.over or before.cancel_requested_at is not None:
            return before
        run = replace(before, cancel_requested_at=now)
        for play in before.plays:
            if play.status is PlayStatus.WAITING:
                never = "its run was cancelled before it began"
                gone = replace(play, status=PlayStatus.CANCELLED, reason=never, ended_at=now)
                run = with_play(run, gone, now)
        run = tx.playbook_runs.replace(run)
        tx.events.add(run_event("cancel_requested", run, at=now, actor=actor))
        if run.ended_at is not None:
            tx.events.add(run_event("ended", run, at=now))
        return run


def with_play(run: PlaybookRun, play: SandboxPlay, now: datetime) -> PlaybookRun:
    """Return the run with another state of one play; it ends with the last of them."""
    plays = tuple(play if one.sandbox_id == play.sandbox_id else one for one in run.plays)
    changed = replace(run, plays=plays)
    return replace(changed, ended_at=now) if changed.over else changed


def run_event(
    what: str,
    run: PlaybookRun,
    play: SandboxPlay | None = None,
    *,
    at: datetime,
    actor: str = "sandboxd",
) -> Event:
    """Return an event about a run, or about the play on one sandbox of it."""
    whose = f"run {run.id} of playbook {run.playbook_name}"
    counts = [f"{sum(one.status is status for one in run.plays)} {status}" for status in PlayStatus]
    told = ", ".join(one for one in counts if not one.startswith("0 "))
    if play is not None:
        told = f"{play.status}: {play.reason}" if play.reason else play.status.value
        whose += f" on {play.sandbox_name}"
    return Event(
        at=at,
        kind=f"playbook_run.{what}",
        actor=actor,
        sandbox_id=None if play is None else play.sandbox_id,
        reason_code=what if play is None else play.status.value.lower(),
        message=f"{whose}: {told}",
        evidence={"run_id": run.id, "playbook_id": run.playbook_id, "revision": run.revision},
    )


def _plays(request: RunPlaybook, tx: Transaction) -> tuple[SandboxPlay, ...]:
    plays: dict[str, SandboxPlay] = {}
    for reference in request.sandboxes:
        sandbox = by_reference(reference, tx)
        check_open(sandbox)
        if sandbox.id in plays:
            raise Invalid(
                f"sandboxes: {sandbox.sandbox_name} is named twice",
                remedy="name each once",
                details={"sandboxes": f"{sandbox.sandbox_name} is named twice"},
            )
        plays[sandbox.id] = SandboxPlay(sandbox_id=sandbox.id, sandbox_name=sandbox.sandbox_name)
    return tuple(plays.values())


def _brief(run: PlaybookRun) -> PlaybookRun:
    return replace(run, plays=tuple(replace(play, log="") for play in run.plays))
