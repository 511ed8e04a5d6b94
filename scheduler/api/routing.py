"""Routes as tables: a row an operation, mounted on the application without routers in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scheduler.api.binding import Binding
from scheduler.api.bodies import BoundedRequest
from scheduler.api.problems import DOCUMENTED


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


Row = tuple[str, str, Callable[..., Awaitable[Response]], Any, int]
"""Method, path, who serves it, what it answers and with which status."""


def table(rows: Iterable[Row], otherwise: Mapping[Any, Any] | None = None) -> tuple[Operation, ...]:
    """Return a noun's rows as operations; `otherwise` as there, by who serves them."""
    otherwise = otherwise or {}
    return tuple(
        Operation(
            method=method,
            path=path,
            endpoint=endpoint,
            answer=answer,
            status=status,
            otherwise=otherwise.get(endpoint),
        )
        for method, path, endpoint, answer, status in rows
    )


class StrictRoute(APIRoute):
    """Documented by FastAPI, read by `Binding`, answered by the endpoint's own response."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **documented: Any) -> None:
        super().__init__(path, endpoint, **documented)
        binding = Binding(self.dependant, self.body_field)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            request = BoundedRequest(scope, receive, send)
            response = await endpoint(**await binding.arguments(request))
            await response(scope, receive, send)

        self.app = app


def mount(
    app: FastAPI, tag: str, operations: Iterable[Operation], *, described: bool = False
) -> None:
    """Serve the operations from the application; `described` for the OpenAPI document's sake."""
    for operation in operations:
        app.router.add_api_route(
            operation.path,
            operation.endpoint,
            methods=[operation.method],
            response_model=operation.answer if described else None,
            status_code=operation.status,
            responses=_documented(operation) if described else None,
            tags=[tag],
            route_class_override=StrictRoute,
        )


def _documented(operation: Operation) -> dict[int | str, dict[str, Any]]:
    """Return what an operation answers beside what it is asked for."""
    documented = {**operation.responses, "default": {**DOCUMENTED}}
    if operation.otherwise is not None:
        said = "What was asked for is planned only, or was waited for."
        documented[200] = {"model": operation.otherwise, "description": said}
    return documented


def methods_at(app: FastAPI) -> Callable[[str], frozenset[str]]:
    """Return what tells which methods a path has; no route alone knows when it has several."""
    routes = [route for route in app.routes if isinstance(route, StrictRoute)]

    def methods(path: str) -> frozenset[str]:
        matching = (route.methods or () for route in routes if route.path_regex.match(path))
        return frozenset(chain.from_iterable(matching))

    return methods
