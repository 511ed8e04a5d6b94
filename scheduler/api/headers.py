"""Which headers each operation reads and answers, as the OpenAPI document tells it.

They follow from what its endpoint uses: whoever calls `once` honours an Idempotency-Key, whoever
answers in a form sends that form's headers. So none is told of that nobody reads, and none can be
forgotten where a line of code is added.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from scheduler.api import answers
from scheduler.api.answers import Form
from scheduler.api.callers import expected_revision, once
from scheduler.api.event_stream import resumed_after
from scheduler.api.switching import PROTOCOL, Upgrade
from scheduler.api.traces import HEADER, PATTERN

Described = Mapping[str, Any]
_OURS = "scheduler.api."


def _read(name: str, description: str, pattern: str | None = None, **schema: object) -> Described:
    matched = {} if pattern is None else {"pattern": pattern}
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", **matched, **schema},
    }


_READ_BY: Mapping[object, Described] = {
    once: _read(
        "Idempotency-Key",
        "Carries the request out once: repeated with the same key it is answered as it was.",
        r"^[\x21-\x7e]{1,200}$",
    ),
    expected_revision: _read(
        "If-Match",
        "The ETag of what was read: 412 where somebody changed it since. '*' is any.",
        r'^("[0-9]{1,18}"|\*)$',
    ),
    resumed_after: _read(
        "Last-Event-ID",
        "The id of the last event received, of a stream that broke off: it goes on after that.",
        r"^[0-9]{1,15}(-[0-9]{1,15})?$",
    ),
    Upgrade: _read("Upgrade", "What the connection becomes.", enum=[PROTOCOL]),
}
_READ_ALWAYS = _read(HEADER, "Names the request; without one a name is made.", PATTERN)
SENT_ALWAYS: Mapping[str, Described] = {
    HEADER: {
        "description": "What the request is called in the daemon's log.",
        "required": True,
        "schema": {"type": "string", "pattern": PATTERN},
    }
}
_SENT: Mapping[str, Described] = {
    "etag": {
        "description": (
            "The revision, for If-Match. It is another one whenever a setting, a task, the state,"
            " what it is meant to become, its reason, host, drain or lease changes, whoever changes"
            " it; not for what is only observed, such as health, addresses and conditions."
        ),
        "schema": {"type": "string"},
    },
    "location": {"description": "Where it is to be found.", "schema": {"type": "string"}},
    "idempotency-replayed": {
        "description": "It was answered so before, under the same Idempotency-Key.",
        "schema": {"type": "string", "const": "true"},
    },
}


def read_by(endpoint: Callable[..., Any]) -> list[Described]:
    """Return the header parameters that an endpoint heeds, described."""
    used = list(_used_by(endpoint))
    heeded = (described for read, described in _READ_BY.items() if read in used)
    return [dict(described) for described in (*heeded, _READ_ALWAYS)]


def heeds_revision(endpoint: Callable[..., Any]) -> bool:
    """Return whether an endpoint asks for the revision that If-Match names."""
    return expected_revision in _used_by(endpoint)


def sent_by(endpoint: Callable[..., Any]) -> Mapping[int, Mapping[str, Described]]:
    """Return by status the headers of an endpoint's successes: required where all have it."""
    used = list(_used_by(endpoint))
    forms: dict[int, list[Form[Any]]] = defaultdict(list)
    for form in used:
        if isinstance(form, Form):
            forms[form.status].append(form)
    repeated = ("idempotency-replayed",) if once in used else ()
    return {
        status: {
            _spelled(name): {
                **_SENT[name],
                "required": all(name in form.headers for form in alike),
            }
            for name in sorted({*repeated, *(name for form in alike for name in form.headers)})
        }
        for status, alike in forms.items()
    }


def _spelled(name: str) -> str:
    return "ETag" if name == "etag" else name.title()


def _used_by(endpoint: Callable[..., Any]) -> Iterator[object]:
    """Yield what an endpoint and the functions of this room that it calls refer to."""
    owner = type(getattr(endpoint, "__self__", None))
    left: list[object] = [getattr(endpoint, "__func__", endpoint)]
    met: set[object] = set()
    while left:
        each = left.pop()
        if not isinstance(each, FunctionType) or each in met:
            continue
        met.add(each)
        for name in _names(each.__code__):
            # A private method is a part of the endpoint, a public one another endpoint.
            method = getattr(owner, name, None) if name.startswith("_") else None
            for found in (each.__globals__.get(name), getattr(answers, name, None), method):
                yield found
                if getattr(found, "__module__", "").startswith(_OURS):
                    left.append(found)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
