"""Consoles of sandboxes: what their guests printed while they booted, as far as it is kept."""

from __future__ import annotations

from scheduler.errors import NotFound
from scheduler.model import Console, Sandbox
from scheduler.service.sandboxes import by_reference
from scheduler.store import Store, Transaction

_NEVER_BOOTED = "it has yet to boot: read it again once it is STARTING"
_NOT_KEPT = (
    "a console is kept from a guest's start until it is ready, unless guests.console is false or"
    " the guest was ready at once; start the sandbox again to have one"
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
    never = sandbox.live and sandbox.running_at is None and sandbox.phase is not None
    return NotFound(
        f"no console is kept of sandbox {sandbox.sandbox_name}",
        remedy=_NEVER_BOOTED if never else _NOT_KEPT,
        details={"sandbox_id": sandbox.id, "state": sandbox.state.value},
    )
