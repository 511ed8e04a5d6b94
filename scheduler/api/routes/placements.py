"""/v1/placements and /v1/decisions: why and why not."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from scheduler.api import answers
from scheduler.api.answers import Form
from scheduler.api.queries import Reference
from scheduler.api.routing import StrictRoute
from scheduler.model import Decision
from scheduler.placement.documents import Document, explanation_document
from scheduler.service.requests import Wanted
from scheduler.service.services import Services

_EXPLANATION: Form[Document] = Form(dict[str, Any])


class PlacementRoutes:
    """What can be asked about placement."""

    def __init__(self, services: Services) -> None:
        self._placements = services.placements

    def router(self) -> APIRouter:
        """Return the noun's table."""
        router = APIRouter(prefix="/v1", tags=["placement"], route_class=StrictRoute)
        routes: tuple[tuple[str, str, Any, Any], ...] = (
            ("POST", "/placements/explain", self.explain, dict[str, Any]),
            ("GET", "/decisions/{reference}", self.decision, Decision),
        )
        for method, path, endpoint, answer in routes:
            router.add_api_route(path, endpoint, methods=[method], response_model=answer)
        return router

    async def explain(self, body: Wanted) -> Response:
        """Weigh every host against every constraint; nothing is claimed."""
        return _EXPLANATION.respond(explanation_document(self._placements.explain(body)))

    async def decision(self, reference: Reference) -> Response:
        """Show a decision, a refusal too."""
        return answers.DECISION.respond(await self._placements.decision(reference))
