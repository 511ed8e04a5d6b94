"""/v1/placements and /v1/decisions: why and why not."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from scheduler.api import answers
from scheduler.api.answers import Form
from scheduler.api.queries import Reference
from scheduler.api.routing import Operation, Row, table
from scheduler.model import Decision
from scheduler.placement.documents import Document, explanation_document
from scheduler.service.requests import Wanted
from scheduler.service.services import Services

_EXPLANATION: Form[Document] = Form(dict[str, Any])


class PlacementRoutes:
    """What can be asked about placement."""

    def __init__(self, services: Services) -> None:
        self._placements = services.placements

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("POST", "/v1/placements/explain", self.explain, dict[str, Any], 200),
            ("GET", "/v1/decisions/{reference}", self.decision, Decision, 200),
        )
        return table(rows)

    async def explain(self, body: Wanted) -> Response:
        """Weigh every host against every constraint; nothing is claimed."""
        return _EXPLANATION.respond(explanation_document(self._placements.explain(body)))

    async def decision(self, reference: Reference) -> Response:
        """Show a decision, a refusal too."""
        return answers.DECISION.respond(await self._placements.decision(reference))
