"""/v1/publications: change sets on their way into repositories, as pull and merge requests."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Query, Request
from starlette.responses import Response

from scheduler.api.answers import Form, Listing
from scheduler.api.callers import once
from scheduler.api.queries import REFERENCE, PublicationQuery, Wait, wait_seconds
from scheduler.api.routing import Operation, Row, table
from scheduler.model import Publication
from scheduler.service.requests import PublishChangeSet
from scheduler.service.services import Services
from scheduler.store import Page

_PUBLICATION: Form[Publication] = Form(Publication)
_ACCEPTED: Form[Publication] = Form(
    Publication, HTTPStatus.ACCEPTED, headers={"location": "/v1/publications/{0.id}"}
)
_PUBLICATIONS: Form[Page[Publication]] = Form(Page[Publication])

_ALL = "/v1/publications"
_ONE = "/v1/publications/{publication}"
_OF_CHANGE_SET = "/v1/change-sets/{change_set}/publications"

PublicationId = Annotated[str, Path(pattern=REFERENCE, description="A publication's id.")]
ChangeSetId = Annotated[str, Path(pattern=REFERENCE, description="A change set's id.")]


class PublicationRoutes:
    """What can be asked about publications."""

    def __init__(self, services: Services) -> None:
        self._publications = services.publications
        self._kept = services.kept_answers

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("GET", _ALL, self.find, Listing[Publication], 200),
            ("GET", _ONE, self.get, Publication, 200),
            ("POST", f"{_ONE}/retry", self.retry, Publication, 202),
            ("POST", _OF_CHANGE_SET, self.publish, Publication, 202),
        )
        return table(rows)

    async def publish(
        self, request: Request, change_set: ChangeSetId, body: PublishChangeSet
    ) -> Response:
        """Have a change set committed to a branch of its own, and a request opened for it.

        The repository must be on a configured forge. The same wish again is the publication that
        there is.
        """
        return await once(
            request,
            self._kept,
            _ACCEPTED,
            lambda intent: self._publications.publish(change_set, body, intent),
        )

    async def find(self, query: Annotated[PublicationQuery, Query()]) -> Response:
        """List publications, newest first."""
        return _PUBLICATIONS.respond(await self._publications.find(query.wanted(), query.options()))

    async def get(self, publication: PublicationId, wait: Wait = None) -> Response:
        """Show a publication; with `wait` once its request is open, merged, or it has failed."""
        seconds = wait_seconds(wait)
        if seconds is None:
            return _PUBLICATION.respond(await self._publications.get(publication))
        return _PUBLICATION.respond(await self._publications.wait(publication, seconds))

    async def retry(self, request: Request, publication: PublicationId) -> Response:
        """Go on with a failed publication from what is proven of it."""
        return await once(
            request,
            self._kept,
            _ACCEPTED,
            lambda intent: self._publications.retry(publication, intent),
        )
