"""/v1/sandboxes: create, look, start, stop, extend, retry, move, destroy."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from scheduler.api import answers
from scheduler.api.answers import AddressAnswer, Form, Listing
from scheduler.api.callers import expected_revision, intent_of, once
from scheduler.api.queries import DryRun, Reference, SandboxQuery, Wait, wait_seconds
from scheduler.api.routing import Operation, Row, table
from scheduler.model import Decision, Sandbox
from scheduler.service import wishes
from scheduler.service.requests import CreateSandbox, ExtendLease, MoveSandbox
from scheduler.service.sandboxes import Holdings
from scheduler.service.services import Services

_HOLDINGS: Form[Holdings] = Form(Holdings)

_ALL = "/v1/sandboxes"
_ONE = "/v1/sandboxes/{reference}"


class SandboxRoutes:
    """What can be asked about sandboxes."""

    def __init__(self, services: Services) -> None:
        self._sandboxes = services.sandboxes
        self._kept = services.kept_answers

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("POST", _ALL, self.create, Sandbox, 202),
            ("GET", _ALL, self.find, Listing[Sandbox], 200),
            ("GET", _ONE, self.get, Sandbox, 200),
            ("DELETE", _ONE, self.destroy, Sandbox, 202),
            ("POST", f"{_ONE}/start", self.start, Sandbox, 202),
            ("POST", f"{_ONE}/stop", self.stop, Sandbox, 202),
            ("POST", f"{_ONE}/retry", self.retry, Sandbox, 202),
            ("POST", f"{_ONE}/extend", self.extend, Sandbox, 200),
            ("POST", f"{_ONE}/move", self.move, Sandbox, 202),
            ("DELETE", f"{_ONE}/move", self.cancel_move, Sandbox, 202),
            ("GET", f"{_ONE}/ip", self.ip, AddressAnswer, 200),
            ("GET", f"{_ONE}/decision", self.decision, Decision, 200),
        )
        otherwise: dict[Any, Any] = {
            self.create: Sandbox | Decision,
            self.destroy: Sandbox | Holdings,
            self.start: Sandbox,
            self.stop: Sandbox,
            self.retry: Sandbox,
            self.move: Sandbox | Decision,
            self.cancel_move: Sandbox,
        }
        return table(rows, otherwise)

    async def create(
        self, request: Request, body: CreateSandbox, wait: Wait = None, dry_run: DryRun = False
    ) -> Response:
        """Create a sandbox; 202 with its record once its place is claimed.

        With `dry_run` the decision is answered, and nothing is claimed.
        """
        if dry_run:
            return answers.DECISION.respond(await self._sandboxes.preview(body))
        response = await once(
            request,
            self._kept,
            answers.SANDBOX_CREATED,
            lambda intent: self._sandboxes.create(body, intent),
        )
        return await self._settled(response, wait)

    async def find(self, query: Annotated[SandboxQuery, Query()]) -> Response:
        """List sandboxes, newest first."""
        page = await self._sandboxes.find(query.wanted(), query.options(), host=query.host)
        return answers.SANDBOXES.respond(page)

    async def get(self, reference: Reference, wait: Wait = None) -> Response:
        """Show a sandbox, by id or name; destroyed ones by id."""
        sandbox = await self._sandboxes.get(reference)
        seconds = wait_seconds(wait)
        if seconds is not None:
            sandbox = await self._sandboxes.wait(sandbox.id, seconds)
        return answers.SANDBOX.respond(sandbox)

    async def destroy(
        self, request: Request, reference: Reference, wait: Wait = None, dry_run: DryRun = False
    ) -> Response:
        """Destroy a sandbox with all it holds; with `dry_run` only tell what that is."""
        revision = expected_revision(request)
        if dry_run:
            held = await self._sandboxes.holdings(reference, expected_revision=revision)
            return _HOLDINGS.respond(held)
        sandbox = await self._sandboxes.destroy(
            reference, intent_of(request), expected_revision=revision
        )
        return await self._settled(answers.SANDBOX_ACCEPTED.respond(sandbox), wait)

    async def start(self, request: Request, reference: Reference, wait: Wait = None) -> Response:
        """Start a stopped sandbox."""
        revision = expected_revision(request)
        response = await once(
            request,
            self._kept,
            answers.SANDBOX_ACCEPTED,
            lambda intent: self._sandboxes.start(reference, intent, expected_revision=revision),
        )
        return await self._settled(response, wait)

    async def stop(self, request: Request, reference: Reference, wait: Wait = None) -> Response:
        """Shut a sandbox down, by force when it takes too long; it keeps what it holds."""
        revision = expected_revision(request)
        response = await once(
            request,
            self._kept,
            answers.SANDBOX_ACCEPTED,
            lambda intent: self._sandboxes.stop(reference, intent, expected_revision=revision),
        )
        return await self._settled(response, wait)

    async def retry(self, request: Request, reference: Reference, wait: Wait = None) -> Response:
        """Bring up a sandbox that has failed, counting attempts anew."""
        revision = expected_revision(request)
        response = await once(
            request,
            self._kept,
            answers.SANDBOX_ACCEPTED,
            lambda intent: self._sandboxes.retry(reference, intent, expected_revision=revision),
        )
        return await self._settled(response, wait)

    async def extend(self, request: Request, reference: Reference, body: ExtendLease) -> Response:
        """Let a sandbox live longer; its end is never moved to an earlier time."""
        revision = expected_revision(request)
        return await once(
            request,
            self._kept,
            answers.SANDBOX,
            lambda intent: self._sandboxes.extend(
                reference, body.ttl_seconds, intent, expected_revision=revision
            ),
        )

    async def move(
        self,
        request: Request,
        reference: Reference,
        body: MoveSandbox | None = None,
        wait: Wait = None,
        dry_run: DryRun = False,
    ) -> Response:
        """Take a sandbox to another host with its disk; its guest is shut down meanwhile.

        With `dry_run` the decision that would be taken now is answered, and nothing is changed.
        """
        wanted = body or MoveSandbox()
        revision = expected_revision(request)
        if dry_run:
            decision = await self._sandboxes.preview_move(
                reference, wanted.to_host, expected_revision=revision
            )
            return answers.DECISION.respond(decision)
        response = await once(
            request,
            self._kept,
            answers.SANDBOX_ACCEPTED,
            lambda intent: self._sandboxes.move(
                reference,
                intent,
                wanted.to_host,
                wanted.reason or None,
                expected_revision=revision,
            ),
        )
        return await self._settled(response, wait)

    async def cancel_move(
        self, request: Request, reference: Reference, wait: Wait = None
    ) -> Response:
        """Call a move off, as long as no other host has taken the sandbox; it stays where it is."""
        sandbox = await self._sandboxes.cancel_move(
            reference, intent_of(request), expected_revision=expected_revision(request)
        )
        return await self._settled(answers.SANDBOX_ACCEPTED.respond(sandbox), wait)

    async def ip(self, reference: Reference) -> Response:
        """Say where a sandbox can be reached."""
        sandbox = await self._sandboxes.get(reference)
        return answers.ADDRESS.respond(
            AddressAnswer(
                ip_address=sandbox.ip_address,
                ip_source=sandbox.ip_source,
                ip_seen_at=sandbox.ip_seen_at,
            )
        )

    async def decision(self, reference: Reference) -> Response:
        """Say why a sandbox is where it is."""
        return answers.DECISION.respond(await self._sandboxes.decision(reference))

    async def _settled(self, response: Response, wait: str | None) -> Response:
        """Answer the sandbox as it is once settled instead, when asked to wait for that."""
        seconds = wait_seconds(wait)
        if seconds is None:
            return response
        sandbox_id = json.loads(bytes(response.body))["id"]
        sandbox = await self._sandboxes.wait(sandbox_id, seconds)
        form = answers.SANDBOX if wishes.settled(sandbox) else answers.SANDBOX_ACCEPTED
        return form.respond(sandbox)
