"""Routes that refuse what they do not know: query parameters, media types, ambiguous JSON."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from http import HTTPStatus
from itertools import chain
from typing import Any, get_origin
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from scheduler.api.bodies import BoundedRequest
from scheduler.api.problems import Refused, unacceptable
from scheduler.validation.faults import Fault, path_of

MOST_PARAMETERS = 32


class StrictRoute(APIRoute):
    """A route that reads bodies bounded and strictly and refuses unknown query parameters."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, after the checks that FastAPI leaves out."""
        handle = super().get_route_handler()
        known = dict(_query_parameters(self.dependant))
        reads_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            if request.scope["query_string"]:
                faults = _query_faults(request.scope["query_string"], known)
                if faults:
                    return unacceptable(faults)
            if reads_body:
                _check_media_type(request)
            return await handle(BoundedRequest(request.scope, request.receive))

        return strict


def methods_at(routers: Iterable[APIRouter]) -> Callable[[str], frozenset[str]]:
    """Return what tells which methods a path has; no router alone knows when a path has several."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]

    def methods(path: str) -> frozenset[str]:
        matching = (route.methods or () for route in routes if route.path_regex.match(path))
        return frozenset(chain.from_iterable(matching))

    return methods


def _query_parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Yield each parameter's name and whether it may repeat."""
    for parameter in dependant.query_params:
        annotation = parameter.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            for name, field in annotation.model_fields.items():
                yield name, get_origin(field.annotation) is list
        else:
            yield parameter.alias, False
    for inner in dependant.dependencies:
        yield from _query_parameters(inner)


def _query_faults(query: bytes, known: Mapping[str, bool]) -> list[Fault]:
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS
        )
    except ValueError:
        remedy = f"send at most {MOST_PARAMETERS} parameters, percent-encoded"
        return [Fault(path="query", message="the query string is malformed", remedy=remedy)]
    faults = []
    seen: set[str] = set()
    for name, value in pairs:
        path = path_of(("query", name))
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            remedy = f"remove it; this path knows {names}"
            faults.append(Fault(path=path, message="there is no such parameter", remedy=remedy))
        elif name in seen and not known[name]:
            faults.append(Fault(path=path, message="it is given twice", remedy="give it once"))
        elif "\x00" in value:
            faults.append(Fault(path=path, message="it holds a NUL", remedy="remove it"))
        seen.add(name)
    return faults


def _check_media_type(request: Request) -> None:
    given = request.headers.get("content-type")
    if given is None:
        if request.headers.get("content-length", "0") == "0" and (
            "transfer-encoding" not in request.headers
        ):
            return
    elif given.partition(";")[0].strip().lower() == "application/json":
        return
    raise Refused(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "a body must be JSON",
        "send it with Content-Type: application/json",
    )
