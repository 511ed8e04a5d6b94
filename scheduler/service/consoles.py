"""Consoles of sandboxes: what their guests printed while they booted, as far as it is kept."""

from __future__ import annotations

from scheduler.errors import NotFound
from scheduler.lifecycle.alternates import COMING_UP
from scheduler.model import Console, Sandbox
from scheduler.service.sandboxes import by_reference
from scheduler.store import Store, Transaction

_YET_TO_COME = "it is being brought up: ask again in a moment, or: sandboxctl console {} --follow"
_NOT_KEPT = (
    "one is kept from a guest's start until it is ready, unless guests.console is false or it was"
    " ready at once; a sandbox that is stopped and started again has another boot"
)


class ConsoleService:
    """Reads what the loops have heard; no host is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, reference: str) -> Console:
        """Return the console of a sandbox's latest boot; `NotFound` says what there must be."""

        def unit(tx: Transaction) -> Console:
            sandbox = by_reference(reference, tx)
            console = tx.consoles.get(sandbox.id)
            if console is None:
                raise _absent(sandbox)
            return console

        return await self._store.read(unit)


def _absent(sandbox: Sandbox) -> NotFound:
    name = sandbox.sandbox_name
    return NotFound(
        f"no console is kept of sandbox {name}",
        remedy=_YET_TO_COME.format(name) if sandbox.state in COMING_UP else _NOT_KEPT,
        details={"sandbox_id": sandbox.id, "state": sandbox.state.value},
    )
