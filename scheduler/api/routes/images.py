"""/v1/images: golden images, taken in by upload or from a pool, and the hosts that hold them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Query, Request
from starlette.responses import Response

from scheduler.api.answers import Form, Listing
from scheduler.api.callers import intent_of, once
from scheduler.api.queries import DryRun, HostName, ImageQuery, Wait, wait_seconds
from scheduler.api.routing import OCTETS, Operation, Row, table
from scheduler.service.image_reports import ImageReport
from scheduler.service.requests import PrefetchImage, TakeImage
from scheduler.service.services import Services
from scheduler.store import Page
from scheduler.validation.fields import IMAGE

_IMAGE: Form[ImageReport] = Form(ImageReport)
_ACCEPTED: Form[ImageReport] = Form(ImageReport, HTTPStatus.ACCEPTED)
_TAKEN: Form[ImageReport] = Form(
    ImageReport, HTTPStatus.ACCEPTED, headers={"location": "/v1/images/{0.id}"}
)
_IMAGES: Form[Page[ImageReport]] = Form(Page[ImageReport])

_ALL = "/v1/images"
_ONE = "/v1/images/{image}"

ImageReference = Annotated[str, Path(pattern=IMAGE, description="An image's digest, id or name.")]
Offset = Annotated[
    int, Query(ge=0, le=2**50, description="How many bytes were received before: go on there.")
]


class ImageRoutes:
    """What can be asked about images."""

    def __init__(self, services: Services) -> None:
        self._images = services.images
        self._kept = services.kept_answers

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("GET", _ALL, self.find, Listing[ImageReport], 200),
            ("POST", _ALL, self.take, ImageReport, 202),
            ("GET", _ONE, self.get, ImageReport, 200),
            ("DELETE", _ONE, self.remove, ImageReport, 202),
            ("PUT", f"{_ONE}/content", self.receive, ImageReport, 200),
            ("POST", f"{_ONE}/prefetch", self.prefetch, ImageReport, 202),
            ("DELETE", f"{_ONE}/replicas/{{name}}", self.evict, ImageReport, 202),
        )
        return table(rows, {self.remove: ImageReport}, takes={self.receive: OCTETS})

    async def find(self, query: Annotated[ImageQuery, Query()]) -> Response:
        """List images, newest first."""
        return _IMAGES.respond(await self._images.find(query.wanted(), query.options()))

    async def take(self, request: Request, body: TakeImage) -> Response:
        """Announce an image: with digest and size its bytes are then to be sent to `content`.

        With a host and a volume they are read from that host's pool instead.
        """
        return await once(
            request, self._kept, _TAKEN, lambda intent: self._images.take(body, intent)
        )

    async def get(self, image: ImageReference, wait: Wait = None) -> Response:
        """Show an image, by digest, id or name; with `wait` once it and its replicas rest."""
        seconds = wait_seconds(wait)
        if seconds is None:
            return _IMAGE.respond(await self._images.get(image))
        return _IMAGE.respond(await self._images.wait(image, seconds))

    async def remove(
        self, request: Request, image: ImageReference, dry_run: DryRun = False
    ) -> Response:
        """Remove an image with every replica; refused while sandboxes made from it live."""
        if dry_run:
            return _IMAGE.respond(await self._images.removable(image))
        return _ACCEPTED.respond(await self._images.remove(image, intent_of(request)))

    async def receive(
        self, request: Request, image: ImageReference, offset: Offset = 0
    ) -> Response:
        """Take the image's bytes from `offset` on; what arrived before a break need not come again.

        The body is the bytes themselves, of any length up to what was announced.
        """
        return _IMAGE.respond(await self._images.receive(image, offset, request.stream()))

    async def prefetch(
        self, request: Request, image: ImageReference, body: PrefetchImage | None = None
    ) -> Response:
        """Have hosts hold an image before anybody asks for it: those named, else every one."""
        wanted = body or PrefetchImage()
        return await once(
            request,
            self._kept,
            _ACCEPTED,
            lambda intent: self._images.prefetch(image, wanted, intent),
        )

    async def evict(self, request: Request, image: ImageReference, name: HostName) -> Response:
        """Have a host hold an image no longer; refused while sandboxes there were made from it."""
        return _ACCEPTED.respond(await self._images.evict(image, name, intent_of(request)))
