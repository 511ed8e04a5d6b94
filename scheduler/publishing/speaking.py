"""JSON over https with one server and no other: the token in its headers goes nowhere else.

Redirects to and pages on another origin are refused, answers are bounded, errors are told in the
server's own words, and its wish for patience is passed on.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from scheduler.errors import RemoteRefused, RemoteUnavailable, SandboxdError
from scheduler.publishing.secrets import read_token, renewing
from scheduler.publishing.telling import told

MOST_BYTES = 8 * 2**20
MOST_PAGES = 50
MOST_REDIRECTS = 3
ANSWER_SECONDS = 30.0
WHOLE_SECONDS = 60.0
PAUSE_SECONDS = 60
"""How long a server is left alone that has had enough and does not say for how long."""
_NEXT = re.compile(r'<([^<>]+)>\s*;[^,]*\brel="?next"?')
_LIMITED = re.compile(r"secondary rate limit|rate limit exceeded|abuse detection", re.IGNORECASE)
"""What GitHub says, with 403 and often no header, of requests that are too many at once."""
_REASONS: Mapping[int, tuple[str, str]] = {
    401: ("unauthorised", "check the forge's token"),
    403: ("unauthorised", "give the token the right to open requests there"),
    404: ("request_missing", "check the repository's URL, and what the token may see"),
    409: ("request_exists", "look at the requests there"),
    410: ("request_missing", "look whether requests are switched on there"),
    422: ("invalid_request", "see what the forge says of it"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server answered below status 400."""

    headers: Mapping[str, str]
    document: Any


class Speaker:
    """Speaks to one server's API; `authorise` makes headers of the token.

    `handed_over` says that its file is a credential, which does not follow what it was made of.
    """

    def __init__(
        self,
        api: str,
        *,
        token_file: Path | None,
        authorise: Callable[[str], Mapping[str, str]],
        handed_over: bool = False,
        ca_file: Path | None = None,
        now: Callable[[], float],
    ) -> None:
        self._api = api.rstrip("/")
        self._token_file = token_file
        self._authorise = authorise
        self._handed_over = handed_over
        self._ca_file = ca_file
        self._now = now

    async def get(self, path: str, **query: str | int) -> Any:
        """Return the document at a path."""
        return (await self._ask("GET", self._at(path), query=query)).document

    async def send(self, method: str, path: str, body: object) -> Any:
        """Send a document and return the answer's."""
        return (await self._ask(method, self._at(path), body=body)).document

    async def pages(self, path: str, **query: str | int) -> list[Any]:
        """Return the items of a listing, page by page, a bounded number of pages."""
        items: list[Any] = []
        url: str | None = self._at(path)
        for _ in range(MOST_PAGES):
            if url is None:
                break
            answer = await self._ask("GET", url, query=query)
            if not isinstance(answer.document, list):
                raise _nonsense(self._api)
            items += answer.document
            following = _NEXT.search(answer.headers.get("link", ""))
            url = None if following is None else self._within(url, following[1])
            query = {}
        return items

    def _at(self, path: str) -> str:
        return f"{self._api}{path}"

    def _within(self, here: str, link: str) -> str:
        """Return where a link leads that a server gave, if it is to the same server."""
        try:
            url = urljoin(here, link)
        except ValueError:
            url = ""
        if _origin(url) != _origin(self._api):
            raise RemoteRefused(
                f"{_origin(self._api)} leads to another server: {told(_origin(url))}",
                reason="redirected",
                remedy="the token goes to the configured server only: check url and api_url",
            )
        return url

    async def _ask(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: object = None,
    ) -> Answer:
        token = self._token()
        try:
            async with asyncio.timeout(WHOLE_SECONDS), self._client(token) as client:
                for _ in range(MOST_REDIRECTS + 1):
                    request = client.build_request(method, url, params=query or None, json=body)
                    answer = await client.send(request, stream=True)
                    try:
                        target = self._redirected(answer, method)
                        if target is None:
                            return await self._read(answer, token)
                    finally:
                        await answer.aclose()
                    url, query = target, None
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError) as error:
            why = told(str(error), secrets=(token or "",)) or type(error).__name__
            raise RemoteUnavailable(
                f"{_origin(self._api)} cannot be reached: {why}", remedy="it is tried again"
            ) from error
        except TimeoutError:
            raise RemoteUnavailable(
                f"{_origin(self._api)} did not answer in {WHOLE_SECONDS:g} s",
                remedy="it is tried again",
            ) from None
        raise RemoteRefused(
            f"{_origin(self._api)} redirects in circles",
            reason="redirected",
            remedy="check api_url",
        )

    def _token(self) -> str | None:
        if self._token_file is None:
            return None
        return read_token(self._token_file, handed_over=self._handed_over)

    def _client(self, token: str | None) -> httpx2.AsyncClient:
        headers = {} if token is None else self._authorise(token)
        try:
            trusted = ssl.create_default_context(cafile=self._ca_file)
        except (OSError, ssl.SSLError) as error:
            raise RemoteRefused(
                f"{self._ca_file} holds no authority: {error}",
                reason="no_authority",
                remedy="check ca_file; then retry",
            ) from error
        return httpx2.AsyncClient(
            headers={"accept": "application/json", "user-agent": "sandboxd", **headers},
            follow_redirects=False,
            trust_env=False,
            timeout=ANSWER_SECONDS,
            verify=trusted,
        )

    def _redirected(self, answer: httpx2.Response, method: str) -> str | None:
        if not 300 <= answer.status_code < 400:
            return None
        target = self._within(str(answer.url), answer.headers.get("location", ""))
        if method != "GET":
            raise RemoteRefused(
                f"{_origin(self._api)} has moved what was asked for to {told(target)}",
                reason="redirected",
                remedy="publish to the address that it leads to",
            )
        return target

    async def _read(self, answer: httpx2.Response, token: str | None) -> Answer:
        content = bytearray()
        async for part in answer.aiter_bytes():
            content += part
            if len(content) > MOST_BYTES:
                raise RemoteRefused(
                    f"{_origin(self._api)} answers more than {MOST_BYTES} bytes",
                    reason="too_large",
                )
        try:
            document = json.loads(content) if content else None
        except (ValueError, RecursionError):
            document = None
            if answer.status_code < 400:
                raise _nonsense(self._api) from None
        if answer.status_code >= 400:
            said = _said(document) or told(content[:500].decode("utf-8", "replace"))
            raise self._error(answer, told(said, secrets=(token or "",)))
        return Answer(headers=answer.headers, document=document)

    def _error(self, answer: httpx2.Response, said: str) -> SandboxdError:
        status = answer.status_code
        message = f"{_origin(self._api)} answers {status}: {said or 'without a word'}"
        patience = _patience(answer.headers, self._now())
        if patience is None and status == 403 and _LIMITED.search(said):
            patience = PAUSE_SECONDS
        limited = status == 429 or (status == 403 and patience is not None)
        if limited or status >= 500 or status == 408:
            details = {} if patience is None else {"retry_after": patience}
            return RemoteUnavailable(message, remedy="it is tried again", details=details)
        reason, remedy = _REASONS.get(status, ("refused", "see what the forge says of it"))
        handed_over = self._handed_over and reason == "unauthorised"
        remedy = renewing(remedy, handed_over=handed_over)
        return RemoteRefused(message, reason=reason, remedy=remedy)


def _patience(headers: Mapping[str, str], now: float) -> int | None:
    """Return how many seconds a server asks to be left alone for, None when it does not."""
    after = headers.get("retry-after", "")
    if after.isascii() and after.isdigit():
        return int(after[:9])
    if "0" not in (headers.get("x-ratelimit-remaining"), headers.get("ratelimit-remaining")):
        return None
    reset = headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset") or ""
    return max(1, int(reset) - int(now)) if reset.isascii() and reset.isdigit() else PAUSE_SECONDS


def _said(document: object) -> str:
    """Return a forge's error document in one line: its message, and what it says beside."""
    if not isinstance(document, dict):
        return ""
    parts = [document.get(name) for name in ("message", "error", "error_description", "errors")]
    return ": ".join(_flat(part) for part in parts if part)


def _flat(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, list):
        return ", ".join(_flat(one) for one in part[:10])
    if isinstance(part, dict):
        named = part.get("message")
        if isinstance(named, str):
            return named
        return ", ".join(f"{key} {_flat(value)}" for key, value in list(part.items())[:10])
    return str(part)


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        return "an address that is none"
    return f"{parts.scheme}://{parts.hostname}" + ("" if port == 443 else f":{port}")


def _nonsense(api: str) -> RemoteRefused:
    return RemoteRefused(
        f"{_origin(api)} answers something that is not this forge's API",
        reason="no_forge",
        remedy="check kind and api_url of the forge",
    )
