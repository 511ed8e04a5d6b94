"""How far the preparation of a source VM has come: what `prepare_json` holds, and what is next.

Each step is recorded as begun before anything is done for it and with its result after that, and
each may be taken again, so that after a death the first step that is not done is simply taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from scheduler.model import SourceVM


class StepName(StrEnum):
    """The steps, in their order."""

    LOG_IN = "log_in"
    CHECK = "check"
    SURVEY = "survey"
    ACCOUNT = "account"
    AUTHORITY = "authority"
    PRINCIPALS = "principals"
    CONFIGURE = "configure"
    RELOAD = "reload"
    PROVE = "prove"


PURPOSES: Mapping[StepName, str] = {
    StepName.LOG_IN: "log in as {user} with the daemon's key for source VMs, and become root",
    StepName.CHECK: "check that its sshd takes its own configuration as it is",
    StepName.SURVEY: "list what is secret or unique on it, without its content",
    StepName.ACCOUNT: "make the system account sandboxd-inspect, without password and sudo",
    StepName.AUTHORITY: "write the SSH authority's public key to /etc/ssh/sandboxd_source_ca.pub",
    StepName.PRINCIPALS: "write this source's id to /etc/ssh/sandboxd_source_principals",
    StepName.CONFIGURE: "have sshd take the authority for that account alone, checked by sshd -t "
    "before and after; left as it was if sshd refuses it",
    StepName.RELOAD: "have sshd read its configuration again; connections stay",
    StepName.PROVE: "log in as sandboxd-inspect with a certificate",
}


class StepState(StrEnum):
    """How far one step has come."""

    WAITING = "waiting"
    BEGUN = "begun"
    DONE = "done"
    FAILED = "failed"


class Outcome(StrEnum):
    """How far a preparation has come."""

    RUNNING = "running"
    PREPARED = "prepared"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step; `said` is what was found or done, or why it failed."""

    name: StepName
    state: StepState = StepState.WAITING
    said: str | None = None
    begun_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Something on the machine that a clone would have too; `what` is a path or an account."""

    kind: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What an operator agreed to, when, and what came of it."""

    actor: str
    """Who agreed that this machine is changed."""
    asked_at: datetime
    user: str = "root"
    address: str | None = None
    """Where it answers, where an operator said so; else its host is asked."""
    host_key: str | None = None
    """The fingerprint that an operator expects of it."""
    outcome: Outcome = Outcome.RUNNING
    reason: str | None = None
    remedy: str | None = None
    ended_at: datetime | None = None
    steps: tuple[Step, ...] = tuple(Step(name=name) for name in StepName)
    secrets: tuple[Secret, ...] = ()
    cloud_init: bool = False
    """Whether cloud-init is there, which alone can remove secrets at a clone's first boot."""

    @property
    def running(self) -> bool:
        """Return whether there is something left to do."""
        return self.outcome is Outcome.RUNNING

    @property
    def next_step(self) -> Step | None:
        """Return the first step that is not done; None after the last."""
        return next((step for step in self.steps if step.state is not StepState.DONE), None)


def begun(preparation: Preparation, name: StepName, now: datetime) -> Preparation:
    """Return the preparation with a step that is about to be taken, perhaps once more."""
    return _with(preparation, Step(name=name, state=StepState.BEGUN, begun_at=now))


def done(preparation: Preparation, name: StepName, said: str, now: datetime) -> Preparation:
    """Return the preparation with a step that was taken; after the last it is over."""
    step = replace(_step(preparation, name), state=StepState.DONE, said=said, ended_at=now)
    after = _with(preparation, step)
    if after.next_step is not None:
        return after
    return replace(after, outcome=Outcome.PREPARED, ended_at=now)


def failed(
    preparation: Preparation, name: StepName, reason: str, remedy: str | None, now: datetime
) -> Preparation:
    """Return the preparation that one step ended."""
    step = replace(_step(preparation, name), state=StepState.FAILED, said=reason, ended_at=now)
    return replace(
        _with(preparation, step),
        outcome=Outcome.FAILED,
        reason=reason,
        remedy=remedy,
        ended_at=now,
    )


def unprepared(source: SourceVM, *, authority: str | None, domain_uuid: str | None) -> str | None:
    """Return why a source counts as unprepared; None when it is prepared.

    `authority` is the fingerprint of the one that signs now, None when there is none: a missing
    one on either side is a different one.
    """
    if not source.prepared:
        return "it was not prepared"
    if source.ca_fingerprint is None or authority is None or source.ca_fingerprint != authority:
        return "the SSH authority was changed since it was prepared"
    if domain_uuid is not None and source.domain_uuid != domain_uuid:
        return "it is another machine than the one that was prepared"
    return None


def to_json(preparation: Preparation) -> str:
    """Return what `prepare_json` is to hold."""
    return json.dumps(asdict(preparation), default=datetime.isoformat, ensure_ascii=True)


def from_json(text: str | None) -> Preparation | None:
    """Return what `prepare_json` holds; None for nothing."""
    if text is None:
        return None
    document = json.loads(text)
    return Preparation(
        **{
            **document,
            "asked_at": _moment(document["asked_at"]),
            "ended_at": _moment(document["ended_at"]),
            "outcome": Outcome(document["outcome"]),
            "steps": tuple(map(_read_step, document["steps"])),
            "secrets": tuple(Secret(**secret) for secret in document["secrets"]),
        }
    )


def _read_step(document: Mapping[str, Any]) -> Step:
    return Step(
        name=StepName(document["name"]),
        state=StepState(document["state"]),
        said=document["said"],
        begun_at=_moment(document["begun_at"]),
        ended_at=_moment(document["ended_at"]),
    )


def _moment(text: str | None) -> Any:
    return None if text is None else datetime.fromisoformat(text)


def _step(preparation: Preparation, name: StepName) -> Step:
    return next(step for step in preparation.steps if step.name is name)


def _with(preparation: Preparation, changed: Step) -> Preparation:
    steps = (changed if step.name is changed.name else step for step in preparation.steps)
    return replace(preparation, steps=tuple(steps))
