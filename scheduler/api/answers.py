"""What is answered: entities as they are, by serialisers made once.

The dataclasses of `scheduler.model` are the contract; nothing is copied into a second set of
models. Decisions, drains and explanations answer flat documents of the values they consist of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from starlette.responses import Response

from scheduler.lifecycle.drains import DrainAction
from scheduler.model import Decision, Event, HostResources, IpSource, Sandbox
from scheduler.service.drains import DrainStatus
from scheduler.service.intents import Answer
from scheduler.store import Page

T = TypeVar("T")
JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """A page of a listing; `next_cursor` is null on the last."""

    items: Sequence[T]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainReport:
    """A drain and what it means for each sandbox now."""

    id: str
    host_id: str
    host_name: str
    host_state: str
    state: str
    policy: str
    on_deadline: str
    reason: str
    actor: str
    started_at: datetime
    deadline_at: datetime | None
    ended_at: datetime | None
    total: int
    remaining: int
    actions: Sequence[DrainAction]
    blockers: Sequence[str]
    eta: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressAnswer:
    """Where a sandbox can be reached; null while it has no address."""

    ip_address: str | None
    ip_source: IpSource | None
    ip_seen_at: datetime | None


class Form(Generic[T]):
    """How one kind of result is answered: status, serialiser, headers."""

    def __init__(
        self,
        kind: Any,
        status: HTTPStatus = HTTPStatus.OK,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
        self.status = int(status)
        self.headers = headers or {}

    def answer(self, result: T) -> Answer:
        """Return the result as it is sent and kept."""
        return Answer(status=self.status, text=self._adapter.dump_json(result).decode())

    def respond(self, result: T) -> Response:
        """Return the response; header templates are filled with the result's attributes."""
        return Response(self._adapter.dump_json(result), self.status, self._filled(result), JSON)

    def repeat(self, answer: Answer) -> Response:
        """Return the response to a request that was answered so before."""
        headers = self._filled(SimpleNamespace(**json.loads(answer.text)))
        return Response(
            answer.text, answer.status, {**headers, "idempotency-replayed": "true"}, JSON
        )

    def _filled(self, result: object) -> dict[str, str]:
        return {name: text.format(result) for name, text in self.headers.items()}


def drain_report(status: DrainStatus) -> DrainReport:
    """Return a drain's status as one flat document."""
    drain, plan = status.drain, status.plan
    return DrainReport(
        id=drain.id,
        host_id=drain.host_id,
        host_name=drain.host_name,
        host_state=status.host.state.value,
        state=drain.state.value,
        policy=drain.policy.value,
        on_deadline=drain.on_deadline.value,
        reason=drain.reason,
        actor=drain.actor,
        started_at=drain.started_at,
        deadline_at=drain.deadline_at,
        ended_at=drain.ended_at,
        total=max(drain.total, plan.remaining),
        remaining=plan.remaining,
        actions=plan.actions,
        blockers=plan.blockers,
        eta=plan.eta,
    )


class _DrainForm(Form[DrainStatus]):
    def answer(self, result: DrainStatus) -> Answer:
        return super().answer(drain_report(result))  # type: ignore[arg-type]

    def respond(self, result: DrainStatus) -> Response:
        return super().respond(drain_report(result))  # type: ignore[arg-type]


_REVISION = {"etag": '"{0.revision}"'}
SANDBOX: Form[Sandbox] = Form(Sandbox, headers=_REVISION)
SANDBOX_ACCEPTED: Form[Sandbox] = Form(Sandbox, HTTPStatus.ACCEPTED, headers=_REVISION)
SANDBOX_CREATED: Form[Sandbox] = Form(
    Sandbox, HTTPStatus.ACCEPTED, headers={**_REVISION, "location": "/v1/sandboxes/{0.id}"}
)
SANDBOXES: Form[Page[Sandbox]] = Form(Page[Sandbox])
HOST: Form[HostResources] = Form(HostResources, headers=_REVISION)
HOST_CREATED: Form[HostResources] = Form(
    HostResources, HTTPStatus.CREATED, headers={**_REVISION, "location": "/v1/hosts/{0.name}"}
)
HOSTS: Form[Page[HostResources]] = Form(Page[HostResources])
DRAIN: Form[DrainStatus] = _DrainForm(DrainReport)
DRAIN_ACCEPTED: Form[DrainStatus] = _DrainForm(DrainReport, HTTPStatus.ACCEPTED)
DECISION: Form[Decision] = Form(Decision)
ADDRESS: Form[AddressAnswer] = Form(AddressAnswer)
EVENTS: Form[Listing[Event]] = Form(Listing[Event])
EVENT: Form[Event] = Form(Event)
