"""The one error tree.

Every error a user can meet carries a stable `code`, a message saying what happened and why, and a
`remedy` saying what to do next. Adapters translate foreign exceptions into these at once; the API
turns `code` into a problem document and nothing else in between looks inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class SandboxdError(Exception):
    """Root of every error this project raises on purpose."""

    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        remedy: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.details: Mapping[str, object] = dict(details or {})


class NotFound(SandboxdError):
    """No live record has this key."""

    code = "not_found"


class AlreadyExists(SandboxdError):
    """A live record holds this unique key already."""

    code = "already_exists"


class Conflict(SandboxdError):
    """The record is not in the state, or at the revision, that the caller assumed."""

    code = "conflict"


class Invalid(SandboxdError):
    """The input can never be accepted; `details` may map a field's path to its fault."""

    code = "invalid"


class ReadOnly(SandboxdError):
    """The store refuses writes: configured so, or its medium has become read-only or full."""

    code = "read_only"


class Unavailable(SandboxdError):
    """A part that is needed does not answer now; trying again later may succeed."""

    code = "unavailable"


class Unreadable(SandboxdError):
    """A record holds what this version cannot read; it is left alone, and others go on."""

    code = "unreadable"

    def __init__(self, message: str, *, remedy: str | None = None, key: tuple[object, ...]) -> None:
        super().__init__(message, remedy=remedy)
        self.key = key


class CapacityExhausted(SandboxdError):
    """Every host was weighed and none has room now; room may come back."""

    code = "capacity_exhausted"


class ConstraintImpossible(SandboxdError):
    """No host of this fleet could ever satisfy the request as it stands."""

    code = "constraint_impossible"


class QuotaExceeded(SandboxdError):
    """The caller's share is used up."""

    code = "quota_exceeded"


class Draining(SandboxdError):
    """The host is being emptied and takes no new work."""

    code = "draining"


class SetInFile(Conflict):
    """The configuration file names this field, so only the file may change it."""

    code = "set_in_file"


class JournalGap(SandboxdError):
    """What followed the number a reader stopped at is no longer, or not, in this journal."""

    code = "journal_gap"


class StaleRevision(Conflict):
    """If-Match named another revision than the current one."""

    code = "stale_revision"


class HostError(SandboxdError):
    """A call to a hypervisor host failed."""

    code = "host_error"


class HostUnreachable(HostError):
    """The connection to the host is lost or cannot be made."""

    code = "host_unreachable"


class HostTimeout(HostUnreachable):
    """A host call passed its deadline; whether it took effect is unknown."""

    code = "host_timeout"


class HostRefused(HostError):
    """The host answered, and its answer is no: an object is missing, busy or not allowed."""

    code = "host_refused"


class IdentityChanged(HostError):
    """The machine behind a known address is another one than before."""

    code = "host_identity_changed"


class GuestError(SandboxdError):
    """Something inside a sandbox did not work."""

    code = "guest_error"


class GuestUnreachable(GuestError):
    """No verified connection to a sandbox's guest can be had now."""

    code = "guest_unreachable"


class GuestUntrusted(GuestUnreachable):
    """Who answers at a guest's address did not prove to be that sandbox."""

    code = "guest_untrusted"


class RemoteUnavailable(Unavailable):
    """A repository or a forge does not answer now, or asks for patience: `retry_after` seconds."""


class RemoteRefused(SandboxdError):
    """A repository or a forge answered, and its answer is no; `reason` says which no it is."""

    code = "remote_refused"

    def __init__(self, message: str, *, reason: str, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy, details={"reason": reason})
        self.reason = reason
