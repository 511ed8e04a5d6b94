"""Watches for steps of the wall clock, so that no lease ends early (I10).

Within one boot, wall time minus boot time moves only when somebody sets the clock. A step shifts
every recorded end by as much, in one transaction; across a reboot the wall clock is trusted. Until
the shift is committed, `service.lease_time` tells the time that the recorded ends are counted in.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from scheduler.clock import Clock
from scheduler.errors import Unreadable
from scheduler.lifecycle.clock_steps import moved_pause, step_of
from scheduler.lifecycle.consoles import boot_of
from scheduler.model import Event, HostResources, ImageState, Publication, Sandbox
from scheduler.service.lease_time import (
    BOOT_SETTING,
    OFFSET_SETTING,
    clock_offset,
    kept_offset,
)
from scheduler.store import Store, Transaction

_log = structlog.get_logger("scheduler.control")


class ClockGuard:
    """Compares the wall clock with the boot clock, once a second and once at start."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._kept: float | None = None

    async def watch(self) -> None:
        """Shift the recorded ends if the clock was set since its offset was last written down."""
        offset = clock_offset(self._clock)
        if offset is None:
            return
        if self._kept is None:
            self._kept = await self._store.read(self._stored)
        step = None if self._kept is None else step_of(self._kept, offset, same_boot=True)
        if step is not None:
            _log.warning("clock stepped", seconds=step.total_seconds())
        elif self._kept is not None:
            return
        self._kept = None  # not known until the answer is here
        self._kept = await self._store.submit(partial(self._follow, offset))

    def _follow(self, offset: float, tx: Transaction) -> float:
        """Shift the recorded ends by what the clock was set since; return what they follow now.

        By what is written down, not by what this process remembers: a shift whose commit was not
        answered may have been made, and must not be made again.
        """
        kept = self._stored(tx)
        step = None if kept is None else step_of(kept, offset, same_boot=True)
        if kept is not None and step is None:
            return kept
        tx.settings.put(OFFSET_SETTING, repr(offset))
        tx.settings.put(BOOT_SETTING, self._clock.boot_id)
        if step is not None:
            _shift(tx, step, self._clock.now())
        return offset

    def _stored(self, tx: Transaction) -> float | None:
        return kept_offset(tx, self._clock)


def _shift(tx: Transaction, step: timedelta, now: datetime) -> None:
    """Move every end by the step: leases, drains' deadlines, and waits of work under way."""
    leases = tx.sandboxes.shift_expiries(step)
    for host in tx.hosts.readable():
        with suppress(Unreadable):
            _shift_host(tx, host, step, now)
    for sandbox in tx.sandboxes.unsettled():
        _shift_boot(tx, sandbox, step)
        tx.sandboxes.transition(
            sandbox.id,
            sandbox.state,
            sandbox.state,
            at=now,
            queued_at=_moved(sandbox.queued_at or sandbox.created_at, step),
            phase_at=_moved(sandbox.phase_at, step),
            retry_at=_moved(sandbox.retry_at, step),
        )
    for replica in tx.replicas.readable():
        if replica.retry_at is not None:
            retry_at = moved_pause(replica.retry_at, replica.updated_at, step, now)
            tx.replicas.replace(replace(replica, retry_at=retry_at, updated_at=now))
    for publication_id in tx.publications.unsettled():
        with suppress(Unreadable):
            _shift_publication(tx, tx.publications.get(publication_id), step, now)
    for image in tx.images.readable():
        if image.state is ImageState.RECEIVING:
            # How long nobody went on with it.
            moved = replace(image, updated_at=image.updated_at + step)
            tx.images.replace(moved, expected=image.state)
    seconds = step.total_seconds()
    tx.events.add(
        Event(
            at=now,
            kind="clock.stepped",
            reason_code="clock_stepped",
            message=f"the wall clock was set by {seconds:+.1f} s; {leases} leases follow",
            evidence={"seconds": seconds, "leases": leases},
        )
    )


def _shift_boot(tx: Transaction, sandbox: Sandbox, step: timedelta) -> None:
    """Have what its guest printed be of the same boot, which is known by when it was asked for."""
    with suppress(Unreadable):
        console = tx.consoles.get(sandbox.id)
        if console is not None and console.boot_at == boot_of(sandbox):
            tx.consoles.put(replace(console, boot_at=console.boot_at + step))


def _shift_host(tx: Transaction, host: HostResources, step: timedelta, now: datetime) -> None:
    """Move the deadline of its drain, and the times for which builds are kept off it."""
    drain = tx.drains.active(host.id)
    if drain is not None and drain.deadline_at is not None:
        tx.drains.replace(replace(drain, deadline_at=drain.deadline_at + step))
    if host.breakers:
        moved = (
            replace(one, since=one.since + step, retry_at=one.retry_at + step)
            for one in host.breakers
        )
        tx.hosts.set_breakers(host.id, tuple(moved), at=now)


def _shift_publication(
    tx: Transaction, publication: Publication, step: timedelta, now: datetime
) -> None:
    """Move the pause of its next step, and since when its request waits for somebody."""
    retry_at, since = publication.retry_at, publication.updated_at
    moved = replace(
        publication,
        retry_at=None if retry_at is None else moved_pause(retry_at, since, step, now),
        opened_at=_moved(publication.opened_at, step),
        updated_at=now,
    )
    tx.publications.replace(moved, before=publication)


def _moved(at: datetime | None, step: timedelta) -> datetime | None:
    return None if at is None else at + step
