"""Who asks, and whether they may be answered from memory.

A POST with an Idempotency-Key is carried out once: its answer is stored with its effect and given
again to whoever repeats it. Only successes are kept, so what was refused may be tried again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

from fastapi import Request
from starlette.responses import Response

from scheduler.api.answers import Form
from scheduler.api.bodies import header
from scheduler.api.problems import Refused
from scheduler.service.idempotency import KeptAnswers
from scheduler.service.intents import Answer, Intent, Key

T = TypeVar("T")

_KEY = re.compile(rb"[\x21-\x7e]{1,200}")
_REVISION = re.compile(r'"([0-9]{1,18})"')


def actor_of(request: Request) -> str:
    """Return under which name the caller's deeds are recorded."""
    return str(request.scope["state"]["peer"].actor)


async def once(
    request: Request,
    kept: KeptAnswers,
    form: Form[T],
    perform: Callable[[Intent[T]], Awaitable[T]],
) -> Response:
    """Carry a request out and answer in `form`; a repeated one is answered as it was before."""
    key = await _key_of(request)
    if key is None:
        return form.respond(await perform(Intent(actor=actor_of(request))))
    done = await kept.once(key, form.answer, perform)
    if isinstance(done, Answer):
        return form.repeat(done)
    return form.respond(done)


def intent_of(request: Request) -> Intent[T]:
    """Return the intent of a request that needs no key: repeating it does no harm."""
    return Intent(actor=actor_of(request))


def expected_revision(request: Request) -> int | None:
    """Return the revision that If-Match names, None when any will do."""
    given = request.headers.get("if-match")
    if given is None or given.strip() == "*":
        return None
    match = _REVISION.fullmatch(given.strip())
    if match is None:
        raise Refused(
            HTTPStatus.PRECONDITION_FAILED,
            "stale_revision",
            "If-Match holds no ETag of this service",
            "send the ETag of the answer you read, with its quotes",
        )
    return int(match[1])


def refuse_condition(given: bytes) -> None:
    """Refuse an If-Match where nothing has an ETag: what it names is not what is there."""
    if given.strip() != b"*":
        raise Refused(
            HTTPStatus.PRECONDITION_FAILED,
            "stale_revision",
            "there is no ETag here that If-Match could name, so nothing was done",
            "leave If-Match out; sandboxes, hosts and playbooks have ETags",
        )


async def _key_of(request: Request) -> Key | None:
    given = header(request.scope, b"idempotency-key")
    if given is None:
        return None
    if _KEY.fullmatch(given) is None:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "invalid",
            "the Idempotency-Key is empty, too long or has a character it may not have",
            "use 1 to 200 visible ASCII characters, such as a UUID",
        )
    asked = _without_wait(request.scope["query_string"])
    digest = hashlib.sha256(asked + b"\n" + await request.body())
    return Key(
        actor=actor_of(request),
        route=f"{request.method} {request.scope['path']}",
        key=given.decode(),
        body_hash=digest.hexdigest(),
    )


def _without_wait(query: bytes) -> bytes:
    """Return a query but for how long to wait: who asks again for longer asks for the same."""
    return b"&".join(part for part in query.split(b"&") if not part.startswith(b"wait="))
