"""Carries out what is wished of the SSH authorities, and writes down which keys there are.

A key is on the disk before its record says that it signs, and signs nothing before that. It is
removed after its record says so, and signs nothing from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from scheduler.clock import Clock
from scheduler.control.beside import OneLoop
from scheduler.control.loop import Loop
from scheduler.control.rounds import each
from scheduler.guests.authorities import Authorities, Authority
from scheduler.ids import Prefix, new_id
from scheduler.lifecycle.authorities import Change, KeyFacts, made, recognised
from scheduler.model import AuthorityState, SshAuthority
from scheduler.model.events import SYSTEM
from scheduler.service.authorities import authority_event
from scheduler.store import Store, Transaction

KEEP_SECONDS = 3600.0
MOST_GIVEN_UP = 10_000


class AuthorityKeeper:
    """One pass over all authorities; `told` hears when something was recorded.

    `given_up` is told the sandboxes whose guests trust a key that is no more.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        authorities: Authorities,
        *,
        told: Callable[[], None],
        given_up: Callable[[str], object],
    ) -> None:
        self._store = store
        self._clock = clock
        self._authorities = authorities
        self._told = told
        self._given_up = given_up

    async def keep(self) -> float | None:
        """Recognise the keys there are, make what is to be made, remove what is to go."""
        while await self._store.read(self._unrecognised):
            await self._recognise()
        records = await self._store.read(lambda tx: tx.ssh_authorities.all())
        await each("ssh authorities", records, self._carry_out)
        return None

    async def _carry_out(self, record: SshAuthority) -> None:
        if record.state is AuthorityState.MAKING:
            await self._make(record)
        elif record.state is AuthorityState.RETIRING:
            await self._remove(record)

    async def _make(self, record: SshAuthority) -> None:
        key = await asyncio.to_thread(self._authorities.make, record.name)

        def record_made(tx: Transaction) -> None:
            self._write(tx, made(tx.ssh_authorities.all(), record, facts_of(key)))

        await self._store.submit(record_made)
        self._authorities.adopt(key)
        self._told()

    async def _remove(self, record: SshAuthority) -> None:
        self._authorities.forget(record.fingerprint)
        await asyncio.to_thread(self._authorities.destroy, record.name)
        gone = Change(
            authority=replace(record, state=AuthorityState.RETIRED),
            reason="removed",
            message=f"the key of {record.name} was removed",
        )

        def record_removed(tx: Transaction) -> tuple[str, ...]:
            self._write(tx, (gone,))
            return tx.ssh_authorities.guests(record.fingerprint or "", MOST_GIVEN_UP)

        for sandbox_id in await self._store.submit(record_removed):
            self._given_up(sandbox_id)
        self._told()

    def _unrecognised(self, tx: Transaction) -> Change | None:
        keys = [facts_of(one) for one in self._authorities.all]
        fresh_id = new_id(Prefix.AUTHORITY)
        return recognised(tx.ssh_authorities.all(), keys, self._clock.now(), fresh_id=fresh_id)

    async def _recognise(self) -> None:
        def record_key(tx: Transaction) -> None:
            change = self._unrecognised(tx)
            self._write(tx, () if change is None else (change,))

        await self._store.submit(record_key)
        self._told()

    def _write(self, tx: Transaction, changes: Iterable[Change]) -> None:
        known = {one.id for one in tx.ssh_authorities.all()}
        for change in changes:
            if change.authority.id in known:
                tx.ssh_authorities.replace(change.authority)
            else:
                tx.ssh_authorities.add(change.authority)
            now = self._clock.now()
            said = authority_event(change.authority, change.reason, change.message, SYSTEM, now)
            tx.events.add(said)


def facts_of(key: Authority) -> KeyFacts:
    """Return what may be told of a key."""
    return KeyFacts(
        name=key.name,
        fingerprint=key.fingerprint,
        public_key=key.public_key,
        made_at=key.made_at,
    )


class AuthorityLoop(OneLoop):
    """Runs the keeper beside the other loops."""

    def __init__(self, keeper: AuthorityKeeper, clock: Clock) -> None:
        super().__init__(
            Loop("ssh authorities", keeper.keep, every=KEEP_SECONDS, limit=None, clock=clock)
        )

    def wake(self) -> None:
        """Say that an authority is to be made or to go."""
        self._loop.wake()
