"""A command's failure: what happened, why, and what to do next.

The API's problem documents and the client's own failures end up in this one shape, so that people
read the same three lines and scripts get the same exit code and document from both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.cli.exits import Exit
from scheduler.cli.tables import Column

_BY_CODE: Mapping[str, Exit] = {
    "not_found": Exit.NOT_FOUND,
    "capacity_exhausted": Exit.NO_CAPACITY,
    "constraint_impossible": Exit.NO_CAPACITY,
    "quota_exceeded": Exit.NO_CAPACITY,
    "already_exists": Exit.CONFLICT,
    "conflict": Exit.CONFLICT,
    "draining": Exit.CONFLICT,
    "set_in_file": Exit.CONFLICT,
    "stale_revision": Exit.CONFLICT,
    "invalid": Exit.USAGE,
    "starting": Exit.UNREACHABLE,
}
_BY_STATUS: Mapping[int, Exit] = {
    401: Exit.NOT_AUTHORISED,
    403: Exit.NOT_AUTHORISED,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    412: Exit.CONFLICT,
    413: Exit.USAGE,
    422: Exit.USAGE,
    507: Exit.NO_CAPACITY,
}


_UNAVAILABLE = 503

Illustration = tuple[Sequence[Column], Sequence[dict[str, Any]]]
"""Columns and the documents that fill them, shown between the reasons and the hint."""


class Failure(Exception):
    """Ends the command with an exit code, an explanation and, if known, the next step."""

    def __init__(
        self,
        message: str,
        *,
        exit_code: Exit = Exit.FAILED,
        reasons: tuple[str, ...] = (),
        hint: str | None = None,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.reasons = reasons
        self.hint = hint
        self.table: Illustration | None = None
        self._document = document

    @property
    def passing(self) -> bool:
        """Return whether the daemon is away and the same may succeed once it is back."""
        return self.exit_code is Exit.UNREACHABLE

    @property
    def document(self) -> Mapping[str, Any]:
        """Return the API's problem document, or one in its shape for a failure of our own."""
        if self._document is not None:
            return self._document
        return {
            "type": "about:blank",
            "title": self.exit_code.name.lower().replace("_", " "),
            "code": self.exit_code.name.lower(),
            "detail": "\n".join((self.message, *self.reasons)),
            "remediation": self.hint,
        }


class Refused(Failure):
    """The daemon answered, and its answer is a problem document."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        code = str(document.get("code", ""))
        detail = str(document.get("detail") or document.get("title") or f"HTTP status {status}")
        super().__init__(
            detail,
            exit_code=_BY_CODE.get(code) or _BY_STATUS.get(status, Exit.FAILED),
            reasons=tuple(fault for fault in _field_errors(document) if fault not in detail),
            hint=_hint(document),
            document=document,
        )
        self.status = status
        self.code = code

    @property
    def passing(self) -> bool:
        """Return whether the daemon only begins or ends."""
        return self.status == _UNAVAILABLE or super().passing


def refused(status: int, content_type: str, body: bytes) -> Refused:
    """Return the failure an error answer stands for, also when it is no problem document."""
    document: object = None
    if "json" in content_type:
        try:
            document = json.loads(body)
        except ValueError:
            document = None
    if not isinstance(document, dict):
        text = body.decode("utf-8", "replace").strip()
        document = {"status": status, "detail": f"HTTP status {status}: {text[:500] or 'no body'}"}
    return Refused(status, document)


def _field_errors(document: Mapping[str, Any]) -> tuple[str, ...]:
    errors = document.get("errors") or ()
    if isinstance(errors, Mapping):
        return tuple(f"{path}: {fault}" for path, fault in errors.items())
    return tuple(
        f"{error.get('path', '')}: {error.get('message', '')}".removeprefix(": ")
        if isinstance(error, Mapping)
        else str(error)
        for error in errors
    )


def _hint(document: Mapping[str, Any]) -> str | None:
    remediation = document.get("remediation")
    retry_after = document.get("retry_after")
    if document.get("code") == "internal_error" and document.get("request_id"):
        return f"{remediation} (there it is request {document['request_id']})"
    if retry_after is None:
        return str(remediation) if remediation else None
    return f"{remediation or 'try again'} (worth a retry in {retry_after} s)"
