"""Who may log in to a sandbox's guest, and who did: certificates that were issued, sessions held.

A certificate itself is not kept: its row says what it allows, which is all that is asked later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SshCertificate:
    """A login to one sandbox that was signed for somebody's key."""

    id: str
    serial: int
    """As the certificate and the guest's log name it."""
    sandbox_id: str
    """The only principal, too."""
    actor: str
    key_fingerprint: str
    authority: str
    """The fingerprint of the key that signed it."""
    created_at: datetime
    valid_until: datetime
    """A login must begin before; a session may go on."""
    revoked_at: datetime | None = None
    revoked_by: str | None = None

    def usable(self, now: datetime) -> bool:
        """Return whether a session may begin with it."""
        return self.revoked_at is None and now < self.valid_until


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSession:
    """One connection to a guest that the daemon carried for somebody; sizes in bytes."""

    id: str
    sandbox_id: str
    certificate_id: str
    actor: str
    created_at: datetime
    ended_at: datetime | None = None
    bytes_in: int = 0
    """To the guest."""
    bytes_out: int = 0
    """From the guest."""
    end: str | None = None
    """What ended it: `closed`, `revoked`, `stopped` (the daemon) or `lost` (it died)."""
