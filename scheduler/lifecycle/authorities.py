"""Which records of SSH authorities the keys that are there call for; and what an end would break.

The keys say what is: one may come with a credential, a restored backup or a daemon that died before
it wrote that it had made one. The records say when that began, and what an operator wants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from scheduler.errors import Conflict
from scheduler.model import SshAuthority
from scheduler.model.authorities import AuthorityState

MOST_KEPT = 8
"""More authorities than this are not held at once: each is a key that opens guests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """A private key that is there, as far as it may be told."""

    name: str
    fingerprint: str
    public_key: str
    made_at: datetime | None = None
    """None where its file cannot say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A record that is to be written, and why."""

    authority: SshAuthority
    reason: str
    message: str


_SAID = {
    AuthorityState.SIGNING: ("signing", "it signs, and new guests trust it"),
    AuthorityState.KEPT: ("kept", "another signs for new guests; it stays for those that trust it"),
    AuthorityState.MISSING: ("missing", "its key is not here any more"),
}


def recognised(
    records: Sequence[SshAuthority], keys: Sequence[KeyFacts], now: datetime, *, fresh_id: str
) -> Change | None:
    """Return the next record that differs from the keys there are, the signer's first; or None.

    `fresh_id` is for a key that has no record. A key whose making or removal is recorded is left to
    whoever carries that out, and one that is there under two names goes by the first.
    """
    by_fingerprint = {one.fingerprint: one for one in records if one.fingerprint}
    making = {one.name for one in records if one.state is AuthorityState.MAKING}
    once = {key.fingerprint: key for key in reversed(keys)}
    for place, key in enumerate(sorted(once.values(), key=keys.index)):
        state = AuthorityState.KEPT if place else AuthorityState.SIGNING
        known = by_fingerprint.get(key.fingerprint)
        if known is None and key.name not in making:
            return _found(key, state, now, fresh_id)
        if known is not None and known.state not in (state, AuthorityState.RETIRING):
            return _became(replace(known, name=key.name, retired_at=None, retired_by=None), state)
    present = {key.fingerprint for key in keys}
    for record in records:
        needs_key = record.state in (AuthorityState.SIGNING, AuthorityState.KEPT)
        if needs_key and record.fingerprint not in present:
            return _became(record, AuthorityState.MISSING)
    return None


def made(records: Sequence[SshAuthority], record: SshAuthority, key: KeyFacts) -> Iterator[Change]:
    """Yield what is to be written once the key of a record was made: it signs, none other does."""
    for other in records:
        if other.state is AuthorityState.SIGNING and other.id != record.id:
            yield _became(other, AuthorityState.KEPT)
    known = replace(record, fingerprint=key.fingerprint, public_key=key.public_key)
    yield _became(known, AuthorityState.SIGNING)


def check_rotation(records: Sequence[SshAuthority]) -> None:
    """Raise `Conflict` where no other authority can be made now."""
    signer = next((one for one in records if one.state is AuthorityState.SIGNING), None)
    if signer is not None and signer.given:
        raise Conflict(
            f"the SSH authority {signer.name} is given by systemd, so it is not ours to change",
            remedy="give the unit the new key as the credential ssh_ca and the present one as "
            "ssh_ca_previous, then restart the daemon",
        )
    making = next((one for one in records if one.state is AuthorityState.MAKING), None)
    if making is not None:
        raise Conflict(
            f"the SSH authority {making.name} is being made",
            remedy="see what there is: sandboxctl ca show",
        )
    kept = [one for one in records if one.state in (AuthorityState.KEPT, AuthorityState.MISSING)]
    if len(kept) >= MOST_KEPT:
        raise Conflict(
            f"{len(kept)} older SSH authorities are kept, each of them a key that opens guests",
            remedy="retire those that no guest trusts any more: sandboxctl ca show",
        )


def check_retirement(
    record: SshAuthority, trusting: Sequence[str], *, guests: int, force: bool
) -> None:
    """Raise `Conflict` where an authority cannot be retired; `trusting` names some of its guests.

    `force` gives the guests up that trust nothing else.
    """
    if record.state in (AuthorityState.SIGNING, AuthorityState.MAKING):
        raise Conflict(
            f"the SSH authority {record.name} signs for new guests",
            remedy="have another one made first: sandboxctl ca rotate",
        )
    if record.given and record.state is AuthorityState.KEPT:
        raise Conflict(
            f"the SSH authority {record.name} is given by systemd, so it is not ours to remove",
            remedy=f"take the credential {record.name} from the unit, then restart the daemon",
        )
    if guests and not force:
        more = guests - len(trusting)
        named = ", ".join(trusting) + (f" and {more} more" if more > 0 else "")
        raise Conflict(
            f"{guests} guests trust no other SSH authority than {record.name}: {named}",
            remedy="wait for their end, or make them anew; --force gives them up: nobody logs in "
            "to them any more",
            details={"guests": guests, "trusting": list(trusting)},
        )


def _found(key: KeyFacts, state: AuthorityState, now: datetime, fresh_id: str) -> Change:
    reason, said = _SAID[state]
    record = SshAuthority(
        id=fresh_id,
        name=key.name,
        state=state,
        fingerprint=key.fingerprint,
        public_key=key.public_key,
        created_at=now if key.made_at is None else min(now, key.made_at),
        created_by="system",
    )
    return Change(authority=record, reason=reason, message=f"{key.name} was found: {said}")


def _became(record: SshAuthority, state: AuthorityState) -> Change:
    reason, said = _SAID[state]
    return Change(
        authority=replace(record, state=state), reason=reason, message=f"{record.name}: {said}"
    )
