"""The SSH authorities: shown with who trusts them, rotated, retired.

Only intents are written here: a loop makes keys and removes them. A new authority changes nothing
for guests that are there; each is logged in to by the one that its seed named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from scheduler.clock import Clock
from scheduler.errors import Invalid
from scheduler.ids import Prefix, new_id
from scheduler.lifecycle.authorities import check_retirement, check_rotation
from scheduler.model import AuthorityState, Event, SshAuthority
from scheduler.model.authorities import OWN_NAME
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.store import Store, Transaction

NAMED = 20
"""How many of the guests that trust an authority are named."""

EndSessions = Callable[[str], None]
"""Ends the logins that a key's certificates began, by the key's fingerprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityReport:
    """An authority, and who trusts it and no other."""

    id: str
    name: str
    state: AuthorityState
    fingerprint: str | None
    public_key: str | None
    given: bool
    """Whether systemd hands it over: then it is changed in the unit, not here."""
    created_at: datetime
    created_by: str
    retired_at: datetime | None
    retired_by: str | None
    guests: int
    """Live sandboxes whose guests trust it."""
    sandboxes: tuple[str, ...]
    """The first of them."""
    source_vms: tuple[str, ...]
    """The first of the source VMs that were prepared with it."""


class AuthorityService:
    """What operators do with authorities; `wake` tells the loop that carries it out."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        journal: Journal,
        wake: Callable[[], None],
        end_sessions: EndSessions,
    ) -> None:
        self._store = store
        self._clock = clock
        self._journal = journal
        self._wake = wake
        self._end_sessions = end_sessions

    async def all(self) -> tuple[AuthorityReport, ...]:
        """Return every authority, the newest first."""
        return await self._store.read(
            lambda tx: tuple(_report(tx, one) for one in tx.ssh_authorities.all())
        )

    async def get(self, reference: str) -> AuthorityReport:
        """Return one by its id, or the newest of a name; raises `NotFound`."""
        return await self._store.read(
            lambda tx: _report(tx, tx.ssh_authorities.by_reference(reference))
        )

    async def wait(self, reference: str, seconds: float) -> AuthorityReport:
        """Return one once it is neither being made nor removed, or `seconds` are over."""
        under_way = (AuthorityState.MAKING, AuthorityState.RETIRING)
        return await self._journal.until(
            lambda: self.get(reference), lambda found: found.state not in under_way, seconds
        )

    async def rotate(self, intent: Intent[AuthorityReport]) -> AuthorityReport:
        """Have another authority made, to sign from then on; the present one stays for its guests.

        Raises `Conflict` where systemd gives the authority, or one is being made.
        """
        asked = await self._store.submit(intent.once(partial(self._rotate, intent.actor)))
        return self._committed(asked)

    async def retire(
        self, reference: str, intent: Intent[AuthorityReport], *, force: bool
    ) -> AuthorityReport:
        """Have an authority's key removed, revoking what it signed.

        Raises `Conflict`, naming them, while guests live that trust no other, unless forced.
        """
        unit = partial(self._retire, reference, intent.actor, force)
        retired = self._committed(await self._store.submit(intent.once(unit)))
        if retired.fingerprint is not None:
            self._end_sessions(retired.fingerprint)
        return retired

    async def preview_retirement(self, reference: str, *, force: bool) -> AuthorityReport:
        """Return the authority with who would be given up; refuses as `retire` would."""

        def check(tx: Transaction) -> AuthorityReport:
            found = tx.ssh_authorities.by_reference(reference)
            if not found.over:
                _check(tx, found, force=force)
            return _report(tx, found)

        return await self._store.read(check)

    def _committed(self, report: AuthorityReport) -> AuthorityReport:
        self._journal.poke()
        self._wake()
        return report

    def _rotate(self, actor: str, tx: Transaction) -> AuthorityReport:
        records = tx.ssh_authorities.all()
        if not records:
            raise Invalid(
                "no SSH authority was recorded yet", remedy="the daemon has just begun: try again"
            )
        check_rotation(records)
        number = 1 + max(one.number for one in records)
        asked = SshAuthority(
            id=new_id(Prefix.AUTHORITY),
            name=f"{OWN_NAME}.{number}",
            state=AuthorityState.MAKING,
            created_at=self._clock.now(),
            created_by=actor,
        )
        tx.ssh_authorities.add(asked)
        message = f"{asked.name} was asked for"
        tx.events.add(authority_event(asked, "rotated", message, actor, self._clock.now()))
        return _report(tx, asked)

    def _retire(self, reference: str, actor: str, force: bool, tx: Transaction) -> AuthorityReport:
        found, now = tx.ssh_authorities.by_reference(reference), self._clock.now()
        if found.over:
            return _report(tx, found)
        guests = _check(tx, found, force=force)
        retiring = replace(found, state=AuthorityState.RETIRING, retired_at=now, retired_by=actor)
        tx.ssh_authorities.replace(retiring)
        key = found.fingerprint or ""
        revoked = tx.ssh_certificates.revoke_of_authority(key, actor, now)
        message = f"{found.name} is to be removed: {guests} guests are given up with it"
        event = authority_event(retiring, "retired", message, actor, now)
        evidence = {**event.evidence, "guests": guests, "revoked": revoked, "forced": force}
        tx.events.add(replace(event, evidence=evidence))
        return _report(tx, retiring)


def authority_event(
    authority: SshAuthority, reason: str, message: str, actor: str, now: datetime
) -> Event:
    """Return the event of what became of an authority."""
    return Event(
        at=now,
        kind="ssh_authority.state",
        actor=actor,
        reason_code=reason,
        message=message,
        evidence={
            "authority_id": authority.id,
            "name": authority.name,
            "state": authority.state.value,
            "fingerprint": authority.fingerprint,
        },
    )


def _check(tx: Transaction, authority: SshAuthority, *, force: bool) -> int:
    """Refuse an end that would break something; return how many it gives up."""
    key = authority.fingerprint or ""
    trusting = [*tx.ssh_authorities.guests(key, NAMED), *tx.ssh_authorities.machines(key, NAMED)]
    guests = tx.ssh_authorities.guest_counts().get(key, 0)
    guests += tx.ssh_authorities.machine_counts().get(key, 0)
    check_retirement(authority, trusting[:NAMED], guests=guests, force=force)
    return guests


def _report(tx: Transaction, authority: SshAuthority) -> AuthorityReport:
    key = authority.fingerprint or ""
    return AuthorityReport(
        id=authority.id,
        name=authority.name,
        state=authority.state,
        fingerprint=authority.fingerprint,
        public_key=authority.public_key,
        given=authority.given,
        created_at=authority.created_at,
        created_by=authority.created_by,
        retired_at=authority.retired_at,
        retired_by=authority.retired_by,
        guests=tx.ssh_authorities.guest_counts().get(key, 0),
        sandboxes=tx.ssh_authorities.guests(key, NAMED),
        source_vms=tx.ssh_authorities.machines(key, NAMED),
    )
