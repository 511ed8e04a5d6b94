"""Whatever the OpenAPI document lets a client send is answered as the document says, never by 500.

Schemathesis makes the requests; they go through the real socket to the real application over a real
store. Without loops nothing reaches a host, whatever hosts the requests name. Waiting takes no
time here: a long poll answers with what there is.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from scheduler.api.app import build_app
from scheduler.api.listener import serve
from scheduler.clock import SystemClock
from tests.service.planes import database, plane

CHECKS = [content_type_conformance, response_schema_conformance, status_code_conformance]
EXAMPLES = 12
MANY = 300
BY_DESIGN = frozenset({503, 507})
"""Not ready, and no room: answers of a sound daemon, where the document names them."""
LIMIT_S = 60.0


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
        self._thread = threading.Thread(target=self._run, name="served")

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._ready.wait(LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(LIMIT_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with self._serving():
            self._ready.set()
            await self._stop.wait()

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        async with plane(database(self._directory), Haste()) as opened:
            await opened.add_host("alpha", cpus=10_000, memory_mb=10**8)
            app = build_app(opened.services)
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


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(MANY, marks=pytest.mark.slow)])
def test_no_request_that_the_document_allows_ends_in_an_error_of_ours(
    served: Served, http: httpx2.Client, examples: int
) -> None:
    load_all_checks()
    schema = schemathesis.openapi.from_dict(served.document)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 20
    for operation in operations:
        send_all(operation, http, examples)


def send_all(
    operation: schemathesis.APIOperation[Any, Any, Any, Any], http: httpx2.Client, examples: int
) -> None:
    """Send so many requests for one operation, and judge each answer."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def send(case: schemathesis.Case[Any]) -> None:
        answer = answer_to(case, http)
        if answer is None:
            return
        told = f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
        assert answer.status_code < 500 or answer.status_code in BY_DESIGN, told
        case.validate_response(answer, checks=CHECKS)

    send()


def answer_to(case: schemathesis.Case[Any], http: httpx2.Client) -> httpx2.Response | None:
    """Return the answer, None when the request cannot be sent or the answer is a stream."""
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
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return None
        answer.read()
        return answer
    finally:
        answer.close()
