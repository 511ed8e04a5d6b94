"""Verifications: the latest of each change set, and every write names the one it has read."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select

from scheduler.errors import Conflict
from scheduler.model import Verification, VerificationPhase
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, constant, inserted, overwritten, selected
from scheduler.store.tables import VERIFICATIONS

_TABLE = VERIFICATIONS.table
_INSERT = inserted(VERIFICATIONS)
_GET = selected(VERIFICATIONS, "change_set_id")
_UNFINISHED = Statement(
    select(_TABLE)
    .where(_TABLE.c.phase != constant(VerificationPhase.DONE.value))
    .order_by(_TABLE.c.started_at, _TABLE.c.change_set_id)
)
_OVERWRITE = overwritten(VERIFICATIONS, "change_set_id", "generation", keep=("change_set_id",))


class Verifications(Repository):
    """The verifications' repository."""

    __slots__ = ()

    def add(self, verification: Verification) -> Verification:
        """Write a change set's first verification; `AlreadyExists` when it has one."""
        self._insert(VERIFICATIONS, _INSERT, verification)
        return verification

    def get(self, change_set_id: str) -> Verification | None:
        """Return a change set's verification, if one was ever asked for."""
        return self._maybe(VERIFICATIONS, _GET, change_set_id)

    def unfinished(self) -> tuple[Verification, ...]:
        """Return the verifications that have work to do, the oldest first."""
        return self._readable(VERIFICATIONS, _UNFINISHED)

    def replace(self, verification: Verification) -> Verification:
        """Write a verification as it was read but for its changes; `Conflict` when it moved on."""
        written = replace(verification, generation=verification.generation + 1)
        parameters = [
            *VERIFICATIONS.row(written),
            verification.change_set_id,
            verification.generation,
        ]
        if not self._change(VERIFICATIONS, _OVERWRITE, parameters, written):
            raise Conflict(
                f"the verification of {verification.change_set_id} was changed meanwhile",
                remedy="Read it again and decide anew.",
            )
        return written
