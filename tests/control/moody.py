"""A store that refuses when it is told to: for tests of who has to live with that."""

from __future__ import annotations

from typing import Self, TypeVar

from scheduler.errors import SandboxdError
from scheduler.store import Store, Unit

T = TypeVar("T")


class MoodyStore(Store):
    """Says what it was told to say to the next reads, or writes, and then does what is asked."""

    read_refusals: list[SandboxdError]
    write_refusals: list[SandboxdError]
    lost_answers: list[SandboxdError]
    """Said after a commit, as by a connection that breaks then."""

    @classmethod
    def become(cls, store: Store) -> Self:
        """Return an open store as one that has moods."""
        store.__class__ = cls
        assert isinstance(store, cls)
        store.read_refusals, store.write_refusals, store.lost_answers = [], [], []
        return store

    async def read(self, unit: Unit[T]) -> T:
        if self.read_refusals:
            raise self.read_refusals.pop(0)
        return await super().read(unit)

    async def submit(self, unit: Unit[T]) -> T:
        if self.write_refusals:
            raise self.write_refusals.pop(0)
        written = await super().submit(unit)
        if self.lost_answers:
            raise self.lost_answers.pop(0)
        return written
