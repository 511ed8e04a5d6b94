"""Errors as answers: problem documents (RFC 9457) with a stable code and what to do next.

One table turns an error's code into a status; nothing between the place that raised it and this
one looks inside. Bugs answer `internal_error` without a word of what went wrong inside.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import get_contextvars

from scheduler.errors import Invalid, SandboxdError
from scheduler.validation.faults import Fault

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[str, HTTPStatus] = {
    "not_found": HTTPStatus.NOT_FOUND,
    "already_exists": HTTPStatus.CONFLICT,
    "conflict": HTTPStatus.CONFLICT,
    "draining": HTTPStatus.CONFLICT,
    "set_in_file": HTTPStatus.CONFLICT,
    "host_identity_changed": HTTPStatus.CONFLICT,
    "stale_revision": HTTPStatus.PRECONDITION_FAILED,
    "journal_gap": HTTPStatus.GONE,
    "invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "constraint_impossible": HTTPStatus.UNPROCESSABLE_ENTITY,
    "quota_exceeded": HTTPStatus.TOO_MANY_REQUESTS,
    "capacity_exhausted": HTTPStatus.INSUFFICIENT_STORAGE,
    "unreadable": HTTPStatus.INTERNAL_SERVER_ERROR,
    "read_only": HTTPStatus.SERVICE_UNAVAILABLE,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "host_unreachable": HTTPStatus.SERVICE_UNAVAILABLE,
    "host_timeout": HTTPStatus.GATEWAY_TIMEOUT,
    "host_error": HTTPStatus.BAD_GATEWAY,
    "host_refused": HTTPStatus.BAD_GATEWAY,
    "guest_error": HTTPStatus.BAD_GATEWAY,
    "guest_unreachable": HTTPStatus.SERVICE_UNAVAILABLE,
    "guest_untrusted": HTTPStatus.BAD_GATEWAY,
    "starting": HTTPStatus.SERVICE_UNAVAILABLE,
    "remote_refused": HTTPStatus.BAD_GATEWAY,
}
DOCUMENTED: Mapping[str, object] = {
    "description": "A refusal or a failure: a problem document (RFC 9457).",
    "headers": {
        "Retry-After": {
            "description": "Seconds after which trying again may help.",
            "schema": {"type": "string", "pattern": "^[0-9]+$"},
        }
    },
    "content": {
        MEDIA_TYPE: {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "code", "detail", "remediation"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                    "remediation": {"type": ["string", "null"]},
                    "request_id": {
                        "description": "What the request is called in the daemon's log.",
                        "type": "string",
                    },
                    "errors": {
                        "description": "What is wrong with which fields, of a request refused.",
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["path", "message", "remedy"],
                            "properties": {
                                "path": {"type": "string"},
                                "message": {"type": "string"},
                                "remedy": {"type": ["string", "null"]},
                            },
                        },
                    },
                    "retry_after": {
                        "description": "Seconds after which trying again may help.",
                        "type": "number",
                    },
                    "decision_id": {
                        "description": "Of a placement that was refused: GET /v1/decisions/{id}.",
                        "type": "string",
                    },
                },
            }
        }
    },
}
"""What the OpenAPI document says of every answer that is no success; codes may add members."""
_RETRY_AFTER = {"read_only": 30, "unavailable": 5}


class Refused(HTTPException):
    """A request that HTTP itself refuses, before anybody looked at what it asks for."""

    def __init__(self, status: HTTPStatus, code: str, detail: str, remedy: str) -> None:
        super().__init__(status, detail)
        self.code = code
        self.remedy = remedy


class Unacceptable(Exception):
    """A request with faults in its fields."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    remedy: str | None = None,
    extensions: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the one shape every refusal has."""
    document: dict[str, object] = {
        **(extensions or {}),
        "type": f"urn:sandboxd:problem:{code}",
        "title": code.replace("_", " "),
        "status": int(status),
        "code": code,
        "detail": detail,
        "remediation": remedy,
    }
    if (request_id := get_contextvars().get("request_id")) is not None:
        document["request_id"] = request_id
    return Response(
        json.dumps(document, default=str),
        status_code=int(status),
        headers=dict(headers or {}),
        media_type=MEDIA_TYPE,
    )


class Problems:
    """Turns whatever an application raises into a problem document.

    It stands in for the framework's stack of error layers, each of which costs every request.
    `methods_at` tells the methods of a path, for the refusal of any other.
    """

    def __init__(self, app: ASGIApp, methods_at: Callable[[str], Collection[str]]) -> None:
        self._app = app
        self._methods_at = methods_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; what is raised after an answer has begun is raised further."""
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            return
        except Exception as error:
            if started:
                raise
            await self._answer(error, scope)(scope, receive, send)

    def _answer(self, error: Exception, scope: Scope) -> Response:
        if isinstance(error, SandboxdError):
            return _expected(error)
        if isinstance(error, Unacceptable):
            return _unacceptable(error)
        if isinstance(error, HTTPException):
            if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
                return _wrong_method(scope["method"], self._methods_at(scope["path"]))
            return _refused(error)
        log.error("bug in a request", path=scope["path"], exc_info=error)
        return _bug()


def _expected(error: SandboxdError) -> Response:
    extensions = dict(error.details)
    if isinstance(error, Invalid):
        extensions = {"errors": _field_errors(error)}
    retry_after = extensions.get("retry_after") or _RETRY_AFTER.get(error.code)
    headers = {}
    if retry_after is not None:
        extensions["retry_after"] = retry_after
        headers["retry-after"] = str(retry_after)
    status = STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    return problem(
        status,
        error.code,
        error.message,
        remedy=error.remedy,
        extensions=extensions,
        headers=headers,
    )


def _unacceptable(error: Unacceptable) -> Response:
    faults = error.faults
    told = "; ".join(f"{fault.path or 'the body'}: {fault.message}" for fault in faults[:3])
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        Invalid.code,
        f"the request cannot be accepted: {told}{more}",
        remedy="; ".join(dict.fromkeys(fault.remedy for fault in faults[:3])),
        extensions={"errors": [asdict(fault) for fault in faults]},
    )


def _refused(error: HTTPException) -> Response:
    if isinstance(error, Refused):
        return problem(error.status_code, error.code, error.detail, remedy=error.remedy)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return problem(404, "not_found", "there is nothing at this path", remedy=_SEE)
    phrase = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return problem(error.status_code, phrase, error.detail, remedy=_SEE, headers=error.headers)


def _wrong_method(method: str, allowed: Collection[str]) -> Response:
    known = ", ".join(sorted(allowed))
    return problem(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "method_not_allowed",
        f"this path has no {method}",
        remedy=f"use {known}",
        headers={"allow": known},
    )


def _bug() -> Response:
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "the daemon has a bug that kept it from answering; its log has the traceback",
        remedy="report it with the log; repeating the request with the same key is safe",
    )


_SEE = "see /openapi.json for the paths and their methods"


def _field_errors(error: Invalid) -> list[Mapping[str, object]]:
    return [
        {"path": path, "message": str(message), "remedy": error.remedy}
        for path, message in error.details.items()
    ]
