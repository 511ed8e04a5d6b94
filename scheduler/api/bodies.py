"""Request bodies: bounded, and JSON that means one thing only.

Python's reader would take duplicate keys, NaN, lone surrogates and other encodings than UTF-8; all
of them are refused here, as they are what lets two programs read one text differently.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from scheduler.api.problems import Refused

MOST_BYTES = 1024 * 1024
DEEPEST = 16


class BoundedRequest(Request):
    """A request whose body is refused, unread, when it is too large."""

    async def body(self) -> bytes:
        """Return the body; raises `Refused` (413) beyond 1 MiB without having kept it."""
        if not hasattr(self, "_body"):
            self._body = await self._read()
        return self._body

    async def json(self) -> Any:
        """Return the body's JSON; raises `Refused` (400, 415)."""
        if not hasattr(self, "_json"):
            self._json = parse(await self.body())
        return self._json

    async def _read(self) -> bytes:
        declared = header(self.scope, b"content-length") or b"0"
        if not declared.isdigit() or len(declared) > 12 or int(declared) > MOST_BYTES:
            _too_large()
        if int(declared) == 0 and header(self.scope, b"transfer-encoding") is None:
            return b""
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self.receive()
            # What is cut off before its first byte is no empty body, and asks for no defaults.
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > MOST_BYTES:
                _too_large()
            more = message.get("more_body", False)
        return b"".join(parts)


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return a header's value, None when it is not there; `name` in lower case."""
    for given, value in scope["headers"]:
        if given == name:
            return bytes(value)
    return None


def parse(body: bytes) -> Any:
    """Return the value of a JSON text; raises `Refused` (400) for anything ambiguous."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(f"it is not UTF-8 at byte {error.start}") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise _malformed(f"it is nested deeper than {DEEPEST}") from None
    except ValueError:
        # CPython's bound on the digits of an integer.
        raise _malformed("a number in it is too long") from None
    # Escapes alone can smuggle in what raw UTF-8 and the reader have refused already.
    if "\\u" in text or text.count("[") + text.count("{") > DEEPEST:
        _check(value, DEEPEST)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _malformed("an object in it has the same key twice")
    return members


def _constant(name: str) -> NoReturn:
    raise _malformed(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _check(value: object, depth: int) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict | list):
        if depth == 0:
            raise _malformed(f"it is nested deeper than {DEEPEST}")
        for part in value:
            _check(part, depth - 1)
        if isinstance(value, dict):
            for part in value.values():
                _check(part, depth - 1)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise _malformed("a string in it holds a NUL character")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise _malformed("a string in it holds half of a surrogate pair")


def _malformed(why: str) -> Refused:
    return Refused(
        HTTPStatus.BAD_REQUEST,
        "malformed",
        f"the body is not JSON this service reads: {why}",
        "send one JSON object in UTF-8, every key once",
    )


def _too_large() -> NoReturn:
    raise Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body_too_large",
        f"the body is larger than {MOST_BYTES} bytes",
        f"send at most {MOST_BYTES} bytes",
    )
