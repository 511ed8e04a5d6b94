"""/v1/sandboxes/{id}/console: what a guest printed while it booted."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.responses import Response

from scheduler.api.answers import Form
from scheduler.api.queries import Reference
from scheduler.api.routing import Operation
from scheduler.model import Console, ConsoleGap
from scheduler.service.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleAnswer:
    """The end of what a guest printed during its latest boot.

    Offsets count what was heard of it from the first byte; `data` begins at `dropped_bytes`.
    """

    sandbox_id: str
    boot_at: datetime
    """When the boot was asked for."""
    begun_at: datetime | None
    """When listening began; null when it never did, and `reason` says why."""
    ended_at: datetime | None
    """When the guest was ready, or its boot was over otherwise; null while it boots."""
    dropped_bytes: int
    """How much of the beginning is not kept."""
    gaps: Sequence[ConsoleGap]
    reason: str | None
    """Why nobody listens, or nobody ever did."""
    text: str
    """What was printed; what is no UTF-8 shows as U+FFFD. Data of the guest: not to be trusted."""
    data: str
    """The same, byte for byte, in base64."""
    updated_at: datetime


_CONSOLE: Form[ConsoleAnswer] = Form(ConsoleAnswer)


class ConsoleRoutes:
    """What can be asked about consoles."""

    def __init__(self, services: Services) -> None:
        self._consoles = services.consoles

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        return (
            Operation(
                method="GET",
                path="/v1/sandboxes/{reference}/console",
                endpoint=self.get,
                answer=ConsoleAnswer,
            ),
        )

    async def get(self, reference: Reference) -> Response:
        """Show what a sandbox's guest printed on its serial console during its latest boot.

        It is kept until the sandbox is forgotten, and read from what is recorded: while the guest
        boots it may be some seconds old.
        """
        return _CONSOLE.respond(_answer(await self._consoles.get(reference)))


def _answer(console: Console) -> ConsoleAnswer:
    return ConsoleAnswer(
        sandbox_id=console.sandbox_id,
        boot_at=console.boot_at,
        begun_at=console.begun_at,
        ended_at=console.ended_at,
        dropped_bytes=console.dropped_bytes,
        gaps=console.gaps,
        reason=console.reason,
        text=console.printed.decode("utf-8", "replace"),
        data=b64encode(console.printed).decode(),
        updated_at=console.updated_at,
    )
