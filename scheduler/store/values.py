"""Single values as both engines store them alike: times as integers, texts without NUL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from scheduler.errors import Invalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Return an aware time as microseconds since 1970; `Invalid` when it is naive."""
    if moment.tzinfo is None:
        raise Invalid(f"{moment.isoformat()} has no time zone", remedy="Give times in UTC.")
    return (moment - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """Return the aware UTC time of so many microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=value)


def storable(text: str) -> str:
    """Return `text`, or raise `Invalid` when PostgreSQL could not hold it."""
    if "\0" in text:
        raise Invalid("text contains a NUL character", remedy="Remove it.")
    return text


def searchable(text: str) -> str:
    """Return `text`, or raise `Invalid` when no database's JSON could hold and compare it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Invalid("text is not valid Unicode", remedy="Correct it.") from None
    return storable(text)
