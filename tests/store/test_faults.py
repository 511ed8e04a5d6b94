"""What drivers raise arrives as our own errors, with the way out."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
import sqlalchemy.exc

from scheduler.errors import Conflict, Invalid, ReadOnly, SandboxdError, Unavailable
from scheduler.store.faults import of_medium, translate, translated


def sqlite_error(code: int, text: str = "text") -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (sqlite3.SQLITE_BUSY, Unavailable, "locked"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Unavailable, "locked"),
        (sqlite3.SQLITE_FULL, ReadOnly, "disk is full"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, ReadOnly, "can only be read"),
        (sqlite3.SQLITE_CORRUPT_INDEX, Unavailable, "damaged"),
        (sqlite3.SQLITE_NOTADB, Unavailable, "damaged"),
        (sqlite3.SQLITE_IOERR_WRITE, Unavailable, "does not answer"),
        (sqlite3.SQLITE_CONSTRAINT_CHECK, Conflict, "contradict"),
    ],
)
def test_sqlites_codes(code: int, kind: type[SandboxdError], words: str) -> None:
    error = translate(sqlite_error(code))
    assert type(error) is kind
    assert words in error.message
    assert error.remedy


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (psycopg.errors.DiskFull(), ReadOnly),
        (psycopg.errors.ReadOnlySqlTransaction(), ReadOnly),
        (psycopg.errors.LockNotAvailable(), Unavailable),
        (psycopg.errors.SerializationFailure(), Unavailable),
        (psycopg.errors.DataCorrupted(), Unavailable),
        (psycopg.errors.AdminShutdown(), Unavailable),
        (psycopg.OperationalError("the connection is lost"), Unavailable),
        (psycopg.errors.NumericValueOutOfRange(), Invalid),
        (psycopg.errors.NotNullViolation(), Invalid),
        (psycopg.errors.CheckViolation(), Conflict),
        (psycopg.DataError("NUL"), Invalid),
    ],
)
def test_postgresqls_states(raised: psycopg.Error, kind: type[SandboxdError]) -> None:
    assert type(translate(raised)) is kind


def test_what_sqlalchemy_wraps_is_unwrapped() -> None:
    inner = sqlite_error(sqlite3.SQLITE_FULL)
    with pytest.raises(ReadOnly) as raised, translated():
        raise sqlalchemy.exc.OperationalError("INSERT", None, inner)
    assert of_medium(raised.value)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (OverflowError("too big"), Invalid),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), Invalid),
        (sqlalchemy.exc.TimeoutError("pool"), Unavailable),
        (ConnectionRefusedError(), Unavailable),
        (sqlite3.IntegrityError("not null"), Invalid),
    ],
)
def test_what_else_a_driver_may_raise(raised: Exception, kind: type[SandboxdError]) -> None:
    with pytest.raises(kind), translated():
        raise raised


def test_only_the_medium_fails_everybody() -> None:
    assert not of_medium(Unavailable("by a unit's own words"))
    assert not of_medium(KeyError())
    assert not of_medium(translate(psycopg.errors.CheckViolation()))


def test_a_bug_is_not_translated() -> None:
    with pytest.raises(ZeroDivisionError), translated():
        raise ZeroDivisionError
