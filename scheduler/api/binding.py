"""How a request becomes an endpoint's arguments: checked whole, every fault told at once.

FastAPI derives the parameters from an endpoint's signature and documents them; reading them is done
here, because FastAPI lets unknown parameters, repeated ones and ambiguous JSON pass, and because
most of what it looks for on each request (headers, cookies, forms, dependencies) we never have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_origin
from urllib.parse import parse_qsl

from fastapi.dependencies.models import Dependant
from pydantic import BaseModel, ValidationError

from scheduler.api.bodies import BoundedRequest, header
from scheduler.api.problems import Refused, Unacceptable
from scheduler.validation.faults import MOST_FAULTS, Fault, faults_of, path_of

MOST_PARAMETERS = 32


class Binding:
    """The parameters of one endpoint, prepared once."""

    def __init__(self, dependant: Dependant, body: Any) -> None:
        self._request = dependant.request_param_name
        self._path = tuple(dependant.path_params)
        self._simple = {field.alias: field for field in dependant.query_params}
        self._model: tuple[str, type[BaseModel]] | None = None
        for field in dependant.query_params:
            kind = field.field_info.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                self._model = (field.name, kind)
                self._simple = {}
        self._repeatable = frozenset(self._repeatables())
        self._known = frozenset(self._model[1].model_fields if self._model else self._simple)
        self._required = frozenset(
            name for name, field in self._simple.items() if field.field_info.is_required()
        )
        self._defaults = {field.name: field.get_default() for field in self._simple.values()}
        self._body_name = dependant.body_params[0].name if dependant.body_params else None
        self._body = body

    async def arguments(self, request: BoundedRequest) -> dict[str, Any]:
        """Return the endpoint's arguments; raises `Unacceptable` or `Refused`."""
        arguments = dict(self._defaults)
        faults: list[Fault] = []
        if self._request is not None:
            arguments[self._request] = request
        for field in self._path:
            value = request.scope["path_params"][field.alias]
            arguments[field.name], errors = field.validate(value, loc=("path", field.alias))
            if errors:
                faults += faults_of(errors)
        if request.scope["query_string"] or self._model is not None or self._required:
            faults += self._read_query(request.scope["query_string"], arguments)
        if self._body_name is not None:
            faults += await self._read_body(request, self._body_name, arguments)
        if faults:
            raise Unacceptable(faults[:MOST_FAULTS])
        return arguments

    def _repeatables(self) -> Iterator[str]:
        if self._model is not None:
            for name, field in self._model[1].model_fields.items():
                if get_origin(field.annotation) is list:
                    yield name

    def _read_query(self, query: bytes, arguments: dict[str, Any]) -> Sequence[Fault]:
        try:
            pairs = parse_qsl(
                query.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS
            )
        except ValueError:
            remedy = f"send at most {MOST_PARAMETERS} parameters, percent-encoded"
            return [Fault(path="query", message="the query string is malformed", remedy=remedy)]
        given, faults = self._collect(pairs)
        if self._model is not None:
            name, model = self._model
            try:
                arguments[name] = model.model_validate(given)
            except ValidationError as error:
                faults += faults_of(_placed(error))
            return faults
        missing = sorted(self._required - given.keys())
        faults += [_query_fault(name, "it is missing", "give it") for name in missing]
        for name, value in given.items():
            field = self._simple[name]
            arguments[field.name], errors = field.validate(value, loc=("query", name))
            if errors:
                faults += faults_of(errors)
        return faults

    def _collect(self, pairs: Sequence[tuple[str, str]]) -> tuple[dict[str, Any], list[Fault]]:
        """Return the known parameters, lists where they may repeat, and what is wrong with any."""
        given: dict[str, Any] = {}
        faults: list[Fault] = []
        for name, value in pairs:
            if name not in self._known:
                names = ", ".join(sorted(self._known)) or "none"
                faults.append(_query_fault(name, "there is no such parameter", f"known: {names}"))
            elif "\x00" in value:
                faults.append(_query_fault(name, "it holds a NUL character", "remove it"))
            elif name in self._repeatable:
                given.setdefault(name, []).append(value)
            elif name in given:
                faults.append(_query_fault(name, "it is given twice", "give it once"))
            else:
                given[name] = value
        return given, faults

    async def _read_body(
        self, request: BoundedRequest, name: str, arguments: dict[str, Any]
    ) -> Sequence[Fault]:
        body = await request.body()
        if not body:
            arguments[name] = self._body.get_default()
            return [_NO_BODY] if self._body.field_info.is_required() else []
        _check_media_type(request)
        arguments[name], errors = self._body.validate(await request.json())
        return faults_of(errors) if errors else []


def _check_media_type(request: BoundedRequest) -> None:
    given = header(request.scope, b"content-type") or b""
    if given.partition(b";")[0].strip().lower() != b"application/json":
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "a body must be JSON",
            "send it with Content-Type: application/json",
        )


def _placed(error: ValidationError) -> Iterator[Mapping[str, Any]]:
    for each in error.errors(include_url=False):
        yield {**each, "loc": ("query", *each["loc"])}


def _query_fault(name: str, message: str, remedy: str) -> Fault:
    return Fault(path=path_of(("query", name)), message=message, remedy=remedy)


_NO_BODY = Fault(path="", message="it is missing", remedy="send a JSON object as the body")
