"""Are the SSH authorities as they should be? Judged by their records and by who trusts each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from scheduler.diagnosis.checks import CONTROL_NODE, Check, Verdict
from scheduler.diagnosis.commands import sandboxctl
from scheduler.model import AuthorityState, SshAuthority

OLD = timedelta(days=365)
"""A key that opens every new guest is renewed about once a year."""


def check_authorities(
    records: Sequence[SshAuthority], guests: Mapping[str, int], now: datetime
) -> Iterator[Check]:
    """Yield a check of each authority that somebody may trust; none before the first record."""
    for record in records:
        trusting = guests.get(record.fingerprint or "", 0)
        check = _check(record, trusting, now)
        if check is not None:
            yield check


def _check(record: SshAuthority, trusting: int, now: datetime) -> Check | None:
    name, trusted = record.name, f"{trusting} guests trust it"
    match record.state:
        case AuthorityState.SIGNING if now - record.created_at > OLD:
            days = (now - record.created_at).days
            message = f"{name} has signed for {days} days"
            if record.given:
                return _said(
                    Verdict.WARNING, f"{message}; systemd gives it", "systemctl cat sandboxd"
                )
            return _said(Verdict.WARNING, message, sandboxctl("ca", "rotate"))
        case AuthorityState.SIGNING:
            return _said(Verdict.OK, f"{name} signs; {trusted}")
        case AuthorityState.KEPT if not trusting and not record.given:
            message = f"{name} is kept, and no guest trusts it any more"
            return _said(Verdict.WARNING, message, sandboxctl("ca", "retire", name))
        case AuthorityState.KEPT:
            return _said(Verdict.OK, f"{name} is kept: {trusted} and no newer one")
        case AuthorityState.MISSING if trusting:
            message = f"the key of {name} is not here, so {trusting} guests are not reached"
            return _said(Verdict.FAILED, message, sandboxctl("ca", "show", name))
        case AuthorityState.MISSING:
            message = f"the key of {name} is not here, and no guest trusts it"
            return _said(Verdict.WARNING, message, sandboxctl("ca", "retire", name))
        case AuthorityState.RETIRED if trusting:
            message = f"{name} was retired, so {trusting} guests that trust it are not reached"
            return _said(Verdict.WARNING, message, sandboxctl("ca", "show", record.id))
        case AuthorityState.MAKING | AuthorityState.RETIRING:
            message = f"{name} is being made or removed"
            return _said(Verdict.UNKNOWN, message, sandboxctl("ca", "show", record.id))
    return None


def _said(verdict: Verdict, message: str, remedy: str | None = None) -> Check:
    return Check(
        subject=CONTROL_NODE, name="ssh authority", verdict=verdict, message=message, remedy=remedy
    )
