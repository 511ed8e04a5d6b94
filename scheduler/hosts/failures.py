"""libvirt's errors in our words: one table from (domain, code), and a look at the connection.

The same code means different things by the part of libvirt that raised it: an internal error of
the RPC layer is a lost connection, of the storage layer a busy pool. A connection that is no longer
alive turns any error into a lost one, because then the answer is not the host's.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from enum import Enum, auto

import libvirt

from scheduler.errors import HostError, HostRefused, HostUnreachable


class ObjectAbsent(HostRefused):
    """The host says that what was named does not exist there."""


class ObjectBusy(HostRefused):
    """The host cannot do this while something else is under way; soon it can."""


class Failure(Enum):
    """What an error of libvirt means to a caller."""

    LOST = auto()
    ABSENT = auto()
    EXISTS = auto()
    BUSY = auto()
    DENIED = auto()
    REFUSED = auto()


_ANY = None

MEANINGS: Mapping[tuple[int | None, int], Failure] = {
    (libvirt.VIR_FROM_RPC, libvirt.VIR_ERR_INTERNAL_ERROR): Failure.LOST,
    (libvirt.VIR_FROM_RPC, libvirt.VIR_ERR_SYSTEM_ERROR): Failure.LOST,
    (libvirt.VIR_FROM_REMOTE, libvirt.VIR_ERR_INTERNAL_ERROR): Failure.LOST,
    (libvirt.VIR_FROM_REMOTE, libvirt.VIR_ERR_SYSTEM_ERROR): Failure.LOST,
    (_ANY, libvirt.VIR_ERR_NO_CONNECT): Failure.LOST,
    (_ANY, libvirt.VIR_ERR_INVALID_CONN): Failure.LOST,
    (libvirt.VIR_FROM_STORAGE, libvirt.VIR_ERR_INTERNAL_ERROR): Failure.BUSY,
    (libvirt.VIR_FROM_STORAGE, libvirt.VIR_ERR_OPERATION_INVALID): Failure.BUSY,
    (_ANY, libvirt.VIR_ERR_RESOURCE_BUSY): Failure.BUSY,
    # "Cannot acquire state change lock": another job on the domain had it for half a minute.
    (_ANY, libvirt.VIR_ERR_OPERATION_TIMEOUT): Failure.BUSY,
    (_ANY, libvirt.VIR_ERR_NO_DOMAIN): Failure.ABSENT,
    (_ANY, libvirt.VIR_ERR_NO_NETWORK): Failure.ABSENT,
    (_ANY, libvirt.VIR_ERR_NO_STORAGE_POOL): Failure.ABSENT,
    (_ANY, libvirt.VIR_ERR_NO_STORAGE_VOL): Failure.ABSENT,
    (_ANY, libvirt.VIR_ERR_NO_NWFILTER): Failure.ABSENT,
    (_ANY, libvirt.VIR_ERR_STORAGE_VOL_EXIST): Failure.EXISTS,
    (_ANY, libvirt.VIR_ERR_DOM_EXIST): Failure.EXISTS,
    (_ANY, libvirt.VIR_ERR_AUTH_FAILED): Failure.DENIED,
    (_ANY, libvirt.VIR_ERR_AUTH_CANCELLED): Failure.DENIED,
    (_ANY, libvirt.VIR_ERR_AUTH_UNAVAILABLE): Failure.DENIED,
    (_ANY, libvirt.VIR_ERR_ACCESS_DENIED): Failure.DENIED,
}


def meaning_of(domain: int, code: int) -> Failure:
    """Return what an error with this origin and code means; unknown ones are refusals."""
    return MEANINGS.get((domain, code)) or MEANINGS.get((_ANY, code), Failure.REFUSED)


def meaning(error: libvirt.libvirtError) -> Failure:
    """Return what this error means.

    One without a code lost it: the binding asks for the thread's last error only once it has made
    the exception, and where that sets off a garbage collection which frees an object of libvirt's,
    the freeing wipes it. The same call tells it the next time.
    """
    code = error.get_error_code()
    if code is None:
        return Failure.BUSY
    return meaning_of(error.get_error_domain() or 0, code)


def let_go(error: BaseException) -> None:
    """Drop what the error's frames hold: a libvirt object keeps its connection open.

    So do the frames of the errors that came before it, and each frame by what its function closes
    over, as a comprehension's does: that is not cleared with it, so the frames go altogether.
    """
    told: BaseException | None = error
    while told is not None:
        traceback.clear_frames(told.__traceback__)
        told.__traceback__ = None
        told = told.__cause__ or told.__context__


def translate(
    error: libvirt.libvirtError,
    *,
    host: str,
    doing: str,
    alive: bool,
    remedy: str | None = None,
) -> HostError:
    """Return our error for libvirt's, with the cause chained and its frames let go.

    `remedy` says what to do when the caller knows better than the error does.
    """
    let_go(error)
    failure = meaning(error) if alive else Failure.LOST
    # What QEMU's monitor says is passed on with its line ends.
    said = " ".join((error.get_error_message() or str(error)).split())
    details: dict[str, object] = {
        "host": host,
        "libvirt_domain": error.get_error_domain(),
        "libvirt_code": error.get_error_code(),
    }
    kind, text, usual = _WORDS[failure]
    translated = kind(
        f"host {host} could not {doing}: {text}{said}", remedy=remedy or usual, details=details
    )
    translated.__cause__ = error
    return translated


_WORDS: Mapping[Failure, tuple[type[HostError], str, str]] = {
    Failure.LOST: (
        HostUnreachable,
        "the connection is lost: ",
        "check that the host is up and that libvirtd and sshd run there",
    ),
    Failure.ABSENT: (
        ObjectAbsent,
        "",
        "check the pool, network and image names in the host's settings",
    ),
    Failure.EXISTS: (
        HostRefused,
        "",
        "something else on the host holds this name; look at it there",
    ),
    Failure.BUSY: (
        ObjectBusy,
        "busy: ",
        "this is tried again by itself; a job on the host holds the object",
    ),
    Failure.DENIED: (
        HostRefused,
        "not allowed: ",
        "let the daemon's user manage libvirt on the host",
    ),
    Failure.REFUSED: (HostRefused, "", "see the host's libvirtd log for more"),
}
