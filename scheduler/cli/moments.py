"""Points in time: the API's RFC 3339 texts, shown to people relative to now."""

from __future__ import annotations

from datetime import UTC, datetime

from scheduler.cli.quantities import short_duration


def moment(text: object) -> datetime | None:
    """Return the aware time an RFC 3339 text names, None for null or what is not one."""
    if not isinstance(text, str):
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def age(text: object, now: datetime) -> str:
    """Return how long ago a time was, `2h5m`, or `-`."""
    then = moment(text)
    return "-" if then is None else short_duration((now - then).total_seconds())


def remaining(text: object, now: datetime) -> str:
    """Return how long until a time, `59m30s`, `due` once it has passed, or `-`."""
    then = moment(text)
    if then is None:
        return "-"
    seconds = (then - now).total_seconds()
    return short_duration(seconds) if seconds > 0 else "due"


def absolute(text: object) -> str:
    """Return a time in full, local, to the second, or `-`."""
    then = moment(text)
    return "-" if then is None else then.astimezone().isoformat(" ", "seconds")
