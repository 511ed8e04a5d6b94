"""Watch one object until it has settled, telling each of its events on the way.

Watching never acts: Ctrl-C or the deadline end the watching, the work goes on in the daemon. A
daemon that restarts meanwhile is waited for, since it carries on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scheduler.cli.deadlines import Deadline
from scheduler.cli.event_stream import EventStream
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.moments import moment
from scheduler.cli.session import Session
from scheduler.cli.views import events

Document = dict[str, Any]
Outcome = Failure | bool
"""False: not yet. True: reached. A failure: it never will be."""

_IDLE_SECONDS = 5.0
_PATIENCE_SECONDS = 30.0
_PAUSE_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is watched, and for what."""

    stream: EventStream
    read: Callable[[], Document]
    outcome: Callable[[Document], Outcome]
    awaited: Callable[[Document], str]
    """What a spinner says."""
    reattach: str
    """The command that watches on."""
    names: Mapping[str, str] | None = None
    """What to call the subjects of events when there may be several."""
    told_after: datetime | None = None
    """Events up to here are not told; None tells the whole story."""
    concerns: Callable[[Document], bool] = lambda _event: True
    """Whether an event of the stream is about it."""
    before: Document | None = None
    """What it was when the work was asked for: its old failure is not taken for a new one."""


def event_stream(session: Session, deadline: Deadline, **query: object) -> EventStream:
    """Return the journal narrowed to one object; not yet connected."""
    return session.client.events(idle_seconds=deadline.within(_IDLE_SECONDS), **query)


def follow(session: Session, subject: Subject, deadline: Deadline) -> Document:
    """Return the settled document; raises `Failure` when it fails, at the deadline or on Ctrl-C."""
    watch = _Watch(session, subject, deadline)
    try:
        with session.narrator.waiting("waiting"):
            return watch.run()
    except KeyboardInterrupt:
        raise Failure(
            "detached; the work goes on",
            exit_code=Exit.INTERRUPTED,
            hint=f"watch it again: {subject.reattach}",
        ) from None
    finally:
        subject.stream.close()


class _Watch:
    def __init__(self, session: Session, subject: Subject, deadline: Deadline) -> None:
        self._session = session
        self._subject = subject
        self._deadline = deadline
        self._patience: Deadline | None = None
        self._moved = False

    def run(self) -> Document:
        while True:
            try:
                return self._watch()
            except Failure as failure:
                self._outlive(failure)

    def _outlive(self, failure: Failure) -> None:
        """Wait a moment for a daemon that is away; raises any other failure, and after a while."""
        if not failure.passing:
            raise failure
        self._patience = self._patience or Deadline(_PATIENCE_SECONDS)
        if self._patience.passed:
            raise failure
        self._session.narrator.awaited("the daemon does not answer; waiting for it")
        self._stop_when_due()
        time.sleep(_PAUSE_SECONDS)

    def _watch(self) -> Document:
        for event in self._subject.stream:
            if event is not None:
                self._tell(event)
            document = self._subject.read()
            self._patience = None
            self._session.narrator.awaited(self._subject.awaited(document))
            outcome = self._subject.outcome(document)
            if isinstance(outcome, Failure) and self._unchanged(document):
                outcome = False
            if outcome:
                return self._settled(document, outcome)
            self._stop_when_due()
        raise AssertionError("an event stream never ends by itself")

    def _settled(self, document: Document, outcome: Outcome) -> Document:
        # The record may be ahead of the story: first tell what led to it.
        for event in self._subject.stream.rest():
            self._tell(event)
        if isinstance(outcome, Failure):
            raise outcome
        return document

    def _tell(self, event: Document) -> None:
        at = moment(event.get("at"))
        after = self._subject.told_after
        old = at is None or (after is not None and at <= after)
        if at is None or old or not self._subject.concerns(event):
            return
        self._moved = self._moved or event["kind"] == "sandbox.state"
        self._session.narrator.happened(events.sentence(event, self._subject.names), at)

    def _unchanged(self, document: Document) -> bool:
        before = self._subject.before
        return (
            not self._moved
            and before is not None
            and all(
                before.get(field) == document.get(field)
                for field in ("state", "reason_code", "phase")
            )
        )

    def _stop_when_due(self) -> None:
        if self._deadline.passed:
            raise Failure(
                "stopped waiting at the timeout; the work goes on",
                exit_code=Exit.TIMED_OUT,
                hint=f"watch it again: {self._subject.reattach}",
            )
