"""Whatever the OpenAPI document lets a client send is answered as the document says, never by 500.

Schemathesis makes the requests, most of them about things that exist (`population.py`); they go
through the real socket to the real application over a real store. Without loops nothing reaches a
host. Waiting takes no time here: a long poll answers with what there is.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from scheduler.api.app import build_app
from scheduler.api.listener import serve
from scheduler.api.traces import HEADER
from scheduler.clock import SystemClock
from scheduler.config.publishing import ForgeSection
from scheduler.guests.authorities import Authorities
from scheduler.guests.connections import GuestConnections
from scheduler.guests.dialling import Dialler
from scheduler.publishing.forges import Forges
from scheduler.service.ssh import SshService
from scheduler.service.terms import CommandTerms, SourceTerms
from tests.api.population import FITTING, Known, Population
from tests.control.test_readiness import unused
from tests.service.planes import TERMS, Plane, database, plane

CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
TOLD = frozenset({"etag", "location", "retry-after", "idempotency-replayed", "x-request-id"})
"""Headers of answers that the document must have where they are sent."""
SIGNS = {
    "Idempotency-Key": ("", "the Idempotency-Key is empty"),
    "If-Match": ("x", "If-Match holds no ETag"),
    "Last-Event-ID": ("x", "Last-Event-ID is not"),
    "Upgrade": ("x", "it needs Upgrade:"),
}
"""What no header may say, and how whoever heeds it answers that."""
EXAMPLES = 12
MANY = 300
AT_ONCE = 25
"""After so many requests they are about other things."""
BY_DESIGN = frozenset({503, 507})
"""Not ready, and no room: answers of a sound daemon, where the document names them."""
LIMIT_S = 240.0
OTHERWISE = frozenset(
    {"GET /v1/commands/{command}/terminal", "GET /v1/sandboxes/{reference}/tunnel"}
)
"""What succeeds by leaving HTTP, which no drawn request asks for."""
SHY = 4
"""So many operations may be missed by chance where examples are not always the same."""
GENEROUS = replace(
    TERMS,
    commands=CommandTerms(per_host=10**6, at_once=10**6),
    sources=SourceTerms(at_once=10**6),
    stale_after_seconds=86_400.0,
)
"""Nobody carries out what is asked for, so it all waits, nor looks at hosts again."""
FORGE = ForgeSection.model_validate({"name": "git", "kind": "gitea", "url": "https://git.example"})
KNOWN_IN_FOUR = 3
"""Of four requests so many are about things that exist."""

Operation = schemathesis.APIOperation[Any, Any, Any, Any]


class Haste(SystemClock):
    """Nothing that is waited for comes to pass, and the wait is over at once."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead_s

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        await asyncio.sleep(0)
        self._ahead_s += seconds or 0.0
        return event.is_set()


class Served:
    """The application on a socket, served by a loop in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "admin.sock"
        self.document: dict[str, Any] = {}
        self._directory = directory
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="served", daemon=True)
        self._plane: Plane | None = None
        self._authorities = Authorities.open(directory)

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._ready.wait(LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(LIMIT_S)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Have something done in the loop that serves."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S)

    def population(self, http: httpx2.Client) -> Population:
        """Return who makes the things that requests are about."""
        assert self._plane is not None
        return Population(self._plane, http, self.do, self._authorities)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with self._serving():
            self._ready.set()
            await self._stop.wait()

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        clock = Haste()
        forges = Forges((FORGE,), clock)
        guests = GuestConnections(self._authorities, clock, dialler=Dialler(unused))
        async with plane(database(self._directory), clock, terms=GENEROUS, forges=forges) as opened:
            self._plane = opened
            ssh = SshService(
                opened.store,
                clock,
                guests=guests,
                certificate_seconds=GENEROUS.ssh_certificate_seconds,
            )
            app = build_app(replace(opened.services, ssh=ssh))
            self.document = app.openapi()
            async with serve(app, self.socket, group=None, on_stop=opened.journal.close):
                yield


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture(scope="module")
def http(served: Served) -> Iterator[httpx2.Client]:
    transport = httpx2.HTTPTransport(uds=str(served.socket))
    with httpx2.Client(transport=transport, base_url="http://localhost", timeout=LIMIT_S) as client:
        yield client


@pytest.fixture(scope="module")
def population(served: Served, http: httpx2.Client) -> Population:
    return served.population(http)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(MANY, marks=pytest.mark.slow)])
def test_no_request_that_the_document_allows_ends_in_an_error_of_ours(
    served: Served, http: httpx2.Client, population: Population, examples: int
) -> None:
    load_all_checks()
    schema = schemathesis.openapi.from_dict(served.document)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 20
    missed = set()
    for operation in operations:
        answered = send_all(operation, http, examples, population)
        if not any(200 <= status < 300 for status in answered):
            missed.add(operation.label)
    assert missed >= OTHERWISE
    assert len(missed - OTHERWISE) <= SHY, f"never granted: {sorted(missed)}"


def send_all(
    operation: Operation, http: httpx2.Client, examples: int, population: Population
) -> Counter[int]:
    """Send so many requests for one operation, judge each answer, and count them by status."""
    things: list[Known] = population.of(operation.method.upper(), operation.path)
    places = range(len(things))
    answered: Counter[int] = Counter()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(),
        # The first of these comes first: the fittest thing, with a body that fits it.
        place=st.sampled_from([*[*places] * KNOWN_IN_FOUR, *[None for _ in places]]),
        fitting=st.sampled_from([True, False]),
    )
    def send(case: schemathesis.Case[Any], place: int | None, fitting: bool) -> None:
        if answered.total() % AT_ONCE == AT_ONCE - 1:
            # By now most of them are ended, or as they were to become.
            things[:] = population.of(operation.method.upper(), operation.path)
        if place is not None:
            concern(case, things[place], fitting=fitting)
        case.headers.pop("Upgrade", None)
        population.look()
        answer = answer_to(case, http)
        answered[answer.status_code] += 1
        if is_stream(answer):
            return
        told = f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
        assert answer.status_code < 500 or answer.status_code in BY_DESIGN, told
        case.validate_response(answer, checks=CHECKS)
        told_of = operation.definition.raw["responses"]
        documented = told_of.get(str(answer.status_code), told_of["default"]).get("headers", {})
        sent = {name.lower() for name in answer.headers} & TOLD
        assert sent <= {name.lower() for name in documented}, told

    send()
    return answered


@pytest.mark.timeout(3600)
def test_an_operation_heeds_the_headers_that_the_document_gives_it_and_no_others(
    served: Served, http: httpx2.Client, population: Population
) -> None:
    schema = schemathesis.openapi.from_dict(served.document)
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        parameters = operation.definition.raw.get("parameters", ())
        documented = {each["name"] for each in parameters if each["in"] == "header"}
        things = population.of(operation.method.upper(), operation.path)
        heeded = {name for name in SIGNS if heeds(operation, name, http, things)}
        # What a request calls itself is told by every answer.
        assert {*heeded, HEADER} == documented, operation.label


def heeds(operation: Operation, name: str, http: httpx2.Client, things: list[Known]) -> bool:
    """Return whether any of a few requests is refused for what a header says."""
    said, sign = SIGNS[name]
    answers: list[str] = []

    @settings(
        max_examples=3,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def send(case: schemathesis.Case[Any]) -> None:
        if things:
            concern(case, things[0], fitting=True)
        case.query.pop("dry_run", None)
        case.headers.clear()
        case.headers.update({name: said, "Accept": "text/event-stream, */*"})
        answer = answer_to(case, http)
        answers.append("" if is_stream(answer) else answer.text)

    send()
    return any(sign in text for text in answers)


def concern(case: schemathesis.Case[Any], about: Known, *, fitting: bool) -> None:
    """Let a request be about something that exists, with a body that fits it or its own."""
    for name in case.path_parameters:
        case.path_parameters[name] = about[name]
    body = FITTING.get(case.operation.label)
    if fitting and body is not None:
        case.body = body(about)  # type: ignore[assignment]


def is_stream(answer: httpx2.Response) -> bool:
    return answer.headers.get("content-type", "").startswith("text/event-stream")


def answer_to(case: schemathesis.Case[Any], http: httpx2.Client) -> httpx2.Response:
    """Return the answer, unread if it is a stream."""
    wanted = case.as_transport_kwargs(base_url="http://localhost")
    content = wanted.get("data")
    request = http.build_request(
        wanted["method"],
        wanted["url"],
        params=wanted.get("params"),
        headers=wanted.get("headers"),
        cookies=wanted.get("cookies"),
        json=wanted.get("json"),
        content=content,
    )
    answer = http.send(request, stream=True)
    try:
        if not is_stream(answer):
            answer.read()
        return answer
    finally:
        answer.close()
