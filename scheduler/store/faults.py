"""What the drivers raise, in the words of our own error tree.

Statements go to the driver's cursor, so its exceptions arrive bare; SQLAlchemy's, which wrap the
same ones, come from connecting and committing. Both end here and nowhere else. A fault of the
database itself carries its name as `medium` in its details: it is not the fault of the unit that
met it, and trying the next unit would only meet it again.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import sqlalchemy.exc

from scheduler.errors import AlreadyExists, Conflict, Invalid, ReadOnly, SandboxdError, Unavailable

if TYPE_CHECKING:
    import psycopg


class Fault(NamedTuple):
    """A trouble of the database itself, by the name that problem documents and metrics give it."""

    name: str
    kind: type[SandboxdError]
    message: str
    remedy: str


_DAMAGED = Fault(
    "damaged",
    Unavailable,
    "the database is damaged or is not a database",
    "Stop the daemon and restore the newest backup beside the damaged file; nothing was recreated.",
)
_FULL = Fault(
    "full", ReadOnly, "the database's disk is full", "Free space; reading goes on meanwhile."
)
_LOCKED = Fault(
    "locked",
    Unavailable,
    "another process kept the database locked",
    "Try again; if it lasts, find who holds it (a backup, a shell).",
)
_READ_ONLY = Fault(
    "read_only",
    ReadOnly,
    "the database can only be read",
    "Make its file, directory and file system writable, or its server a primary again.",
)
_GONE = Fault(
    "gone",
    Unavailable,
    "the database does not answer",
    "Look at its server or disk; then try again.",
)
_OTHER_SCHEMA = Fault(
    "other_schema",
    ReadOnly,
    "the database's schema is no longer the one that this sandboxd knows",
    "Stop this sandboxd, and run the one that changed the schema.",
)
FAULTS = tuple(f.name for f in (_DAMAGED, _FULL, _LOCKED, _READ_ONLY, _GONE, _OTHER_SCHEMA))

_SQLITE: Mapping[int, Fault] = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}

_POSTGRES: Mapping[str, Fault] = {
    "25006": _READ_ONLY,
    "42703": _OTHER_SCHEMA,
    "42P01": _OTHER_SCHEMA,
    "53100": _FULL,
    "55P03": _LOCKED,
    "40001": _LOCKED,
    "40P01": _LOCKED,
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}

_NO_SUCH = re.compile(r"no such (table|column)|has no column named")
"""What SQLite says instead of a code when a statement fits another schema."""

_ERRORS = (
    sqlite3.Error,
    sqlalchemy.exc.StatementError,
    sqlalchemy.exc.TimeoutError,
    OverflowError,
    UnicodeEncodeError,
    ConnectionError,
)


def driver_errors() -> tuple[type[Exception], ...]:
    """Return what the drivers in use may raise: a store on SQLite never loads PostgreSQL's."""
    loaded = sys.modules.get("psycopg")
    return _ERRORS if loaded is None else (*_ERRORS, loaded.Error)


@contextmanager
def translated() -> Iterator[None]:
    """Raise our error for whatever a driver raises inside."""
    try:
        yield
    except driver_errors() as error:
        raise translate(error) from error


def translate(error: Exception) -> SandboxdError:
    """Return our error for a driver's; anything unknown is the database not answering."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.Error):
        return _from_sqlite(cause)
    if (loaded := sys.modules.get("psycopg")) is not None and isinstance(cause, loaded.Error):
        return _from_postgres(cause)
    if isinstance(cause, OverflowError):
        return Invalid("a number does not fit 64 bits", remedy="Use a smaller one.")
    if isinstance(cause, UnicodeEncodeError):
        return Invalid("text is not valid Unicode", remedy="Correct it.")
    return _medium(_GONE, cause)


def of_medium(error: BaseException) -> TypeGuard[SandboxdError]:
    """Return whether the database itself is at fault, so that other units would fail alike."""
    return isinstance(error, SandboxdError) and "medium" in error.details


def of_damage(error: SandboxdError) -> bool:
    """Return whether the database told that it is damaged."""
    return error.details.get("medium") == _DAMAGED.name


def again(error: SandboxdError) -> SandboxdError:
    """Return a copy for another caller: a raised exception carries its own traceback."""
    return type(error)(error.message, remedy=error.remedy, details=error.details)


def other_schema(found: str | None, known: str) -> SandboxdError:
    """Return the error of a database whose schema was changed while it was open."""
    return _medium(_OTHER_SCHEMA, f"{found or 'none'}, not {known}")


def uncertain(error: SandboxdError) -> SandboxdError:
    """Return what a failed commit means: whether it took effect may not be known."""
    if not isinstance(error, Unavailable):
        return error
    return Unavailable(
        f"{error.message}; whether the change was committed is not known",
        remedy="Look at the record before trying again; a request with a key may be repeated.",
        details={**error.details, "outcome": "unknown"},
    )


def taken(fields: list[str]) -> AlreadyExists:
    """Return the error of a unique key, naming its fields."""
    return AlreadyExists(
        f"{' and '.join(fields) or 'this key'} is taken already",
        remedy="Choose another, or use the record that is there.",
        details={"fields": fields},
    )


def _from_sqlite(error: sqlite3.Error) -> SandboxdError:
    code = getattr(error, "sqlite_errorcode", None)
    if code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
        return taken(re.findall(r"\w+\.(\w+)", str(error)))
    if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        return _dangling()
    if code == sqlite3.SQLITE_CONSTRAINT_CHECK:
        return _inconsistent(error)
    if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError):
        return Invalid(f"the database refuses a value: {error}")
    if code == sqlite3.SQLITE_ERROR and _NO_SUCH.search(str(error)):
        return _medium(_OTHER_SCHEMA, error)
    # The low byte is the primary code, the rest says where it happened.
    return _medium(_SQLITE.get((code or 0) & 0xFF, _GONE), error)


def _from_postgres(error: psycopg.Error) -> SandboxdError:
    import psycopg  # loaded already, by whoever raised it

    state = error.sqlstate or ""
    if state == "23505":
        key = re.match(r"Key \(([^)]*)\)=", error.diag.message_detail or "")
        return taken(key.group(1).split(", ") if key else [])
    if state == "23503":
        return _dangling()
    if state == "23514":
        return _inconsistent(error)
    if state.startswith(("22", "23")) or isinstance(error, psycopg.DataError):
        return Invalid(f"the database refuses a value: {error}")
    return _medium(_POSTGRES.get(state, _GONE), error)


def _dangling() -> Invalid:
    return Invalid(
        "a record refers to one that does not exist, or is still referred to",
        remedy="Create the one it refers to first; remove what refers to it first.",
    )


def _inconsistent(error: Exception) -> Conflict:
    return Conflict(
        f"the ledger's counters contradict this change: {error}",
        remedy="Run the audit; it compares the counters with the allocations and heals them.",
    )


def _medium(fault: Fault, cause: object) -> SandboxdError:
    details = {"medium": fault.name}
    return fault.kind(f"{fault.message} ({cause})", remedy=fault.remedy, details=details)
