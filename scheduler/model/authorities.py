"""The SSH authorities by their records: which signs, which stays for older guests, which went.

The private keys are files of the state directory, or systemd's; a record has the public half only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AuthorityState(StrEnum):
    """What an authority is for."""

    MAKING = "MAKING"
    """Asked for; its key is about to be made."""
    SIGNING = "SIGNING"
    """It signs, and guests that are built now trust it."""
    KEPT = "KEPT"
    """It signs for the guests that trust it, which were built before it was followed."""
    MISSING = "MISSING"
    """Its key is not where it was: guests that trust it are not reached."""
    RETIRING = "RETIRING"
    """Its key is about to be removed."""
    RETIRED = "RETIRED"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAuthority:
    """One key that signs certificates, or did."""

    id: str
    name: str
    """Its key's file, or systemd's credential."""
    state: AuthorityState
    fingerprint: str | None = None
    """OpenSSH's; null until the key is made."""
    public_key: str | None = None
    created_at: datetime
    created_by: str
    retired_at: datetime | None = None
    retired_by: str | None = None

    @property
    def given(self) -> bool:
        """Return whether systemd hands the key over, so that it is not ours to change."""
        return not self.name.startswith(f"{OWN_NAME}.")

    @property
    def number(self) -> int:
        """Return the number in its name; 0 for one that is not ours."""
        return 0 if self.given else int(self.name.rpartition(".")[2])

    @property
    def over(self) -> bool:
        """Return whether it signs nothing any more, by an operator's word."""
        return self.state in (AuthorityState.RETIRING, AuthorityState.RETIRED)


OWN_NAME = "ssh-ca"
"""What the key files in the state directory are called, before their number."""
