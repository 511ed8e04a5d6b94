"""Routes as tables: a row an operation, mounted on the application without routers in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from itertools import chain
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from scheduler.api.binding import Binding
from scheduler.api.bodies import BoundedRequest, header
from scheduler.api.callers import refuse_condition
from scheduler.api.headers import SENT_ALWAYS, heeds_revision, read_by, sent_by
from scheduler.api.problems import DOCUMENTED
from scheduler.api.traces import OPERATION

OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path: who serves it and what it answers."""

    method: str
    path: str
    endpoint: Callable[..., Awaitable[Response]]
    answer: Any
    status: int = 200
    otherwise: Any = None
    """What 200 answers where `status` is another: the plan, or the end that was waited for."""
    responses: dict[int | str, dict[str, Any]] = field(default_factory=dict)
    takes: str | None = None
    """The media type of a body that the endpoint reads by itself, and that is no JSON."""


Row = tuple[str, str, Callable[..., Awaitable[Response]], Any, int]
"""Method, path, who serves it, what it answers and with which status."""


def table(
    rows: Iterable[Row],
    otherwise: Mapping[Any, Any] | None = None,
    *,
    takes: Mapping[Any, str] | None = None,
) -> tuple[Operation, ...]:
    """Return a noun's rows as operations; `otherwise` and `takes` as there, by who serves them."""
    otherwise, takes = otherwise or {}, takes or {}
    return tuple(
        Operation(
            method=method,
            path=path,
            endpoint=endpoint,
            answer=answer,
            status=status,
            otherwise=otherwise.get(endpoint),
            takes=takes.get(endpoint),
        )
        for method, path, endpoint, answer, status in rows
    )


class OperationRoute(Route):
    """Serves one operation: read by a `Binding`, answered by the endpoint's own response.

    FastAPI derives the parameters from the endpoint with the first request that needs them. For all
    operations at once that was half of what a daemon does until it is ready.
    """

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation.path, operation.endpoint, methods=[operation.method])
        self.methods = {operation.method}  # without the HEAD that comes with a GET else
        self.app = self._serve
        self._operation = operation

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][OPERATION] = self.path
        if (condition := header(scope, b"if-match")) is not None and not self._is_conditional:
            refuse_condition(condition)
        request = BoundedRequest(scope, receive, send)
        response = await self._operation.endpoint(**await self._binding.arguments(request))
        await response(scope, receive, send)

    @cached_property
    def _is_conditional(self) -> bool:
        operation = self._operation
        return operation.method == "GET" or heeds_revision(operation.endpoint)

    @cached_property
    def _binding(self) -> Binding:
        derived = APIRoute(self.path, self._operation.endpoint, response_model=None)
        return Binding(derived.dependant, derived.body_field)


def mount(app: FastAPI, operations: Iterable[Operation]) -> None:
    """Serve the operations from the application."""
    app.router.routes.extend(map(OperationRoute, operations))


def describe(app: FastAPI, tag: str, operations: Iterable[Operation]) -> None:
    """Have FastAPI know all of the operations, for the OpenAPI document's sake."""
    for operation in operations:
        app.router.add_api_route(
            operation.path,
            operation.endpoint,
            methods=[operation.method],
            response_model=operation.answer,
            # What has no model is no JSON either.
            response_class=Response if operation.answer is None else JSONResponse,
            status_code=operation.status,
            responses=_documented(operation),
            openapi_extra=_read(operation),
            tags=[tag],
        )


def _documented(operation: Operation) -> dict[int | str, dict[str, Any]]:
    """Return what an operation answers beside what it is asked for."""
    documented = {**operation.responses, "default": {**DOCUMENTED}}
    if operation.otherwise is not None:
        said = "What was asked for is planned only, or was waited for."
        documented[200] = {"model": operation.otherwise, "description": said}
    for status, headers in sent_by(operation.endpoint).items():
        documented[status] = {**documented.get(status, {}), "headers": dict(headers)}
    named = (
        documented
        if operation.status == HTTPStatus.SWITCHING_PROTOCOLS
        else {operation.status: {}, **documented}
    )
    return {
        status: {**answer, "headers": {**answer.get("headers", {}), **SENT_ALWAYS}}
        for status, answer in named.items()
    }


def _read(operation: Operation) -> dict[str, Any]:
    """Return what an operation reads beside its parameters and its JSON."""
    read: dict[str, Any] = {"parameters": read_by(operation.endpoint)}
    if operation.takes is not None:
        octets = {"schema": {"type": "string", "format": "binary"}}
        read["requestBody"] = {"required": True, "content": {operation.takes: octets}}
    return read


def methods_at(app: FastAPI) -> Callable[[str], frozenset[str]]:
    """Return what tells which methods a path has; no route alone knows when it has several."""
    routes = [route for route in app.routes if isinstance(route, OperationRoute)]

    def methods(path: str) -> frozenset[str]:
        matching = (route.methods or () for route in routes if route.path_regex.match(path))
        return frozenset(chain.from_iterable(matching))

    return methods
