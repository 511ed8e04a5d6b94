"""Durations and sizes as people write them: `90s`, `1h30m`, `4GiB`, or plain numbers.

A plain number is what the setting's name says: seconds or MiB. Rounding would hide a mistake, so a
size that is no whole number of MiB is refused.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from scheduler.validation.fields import refusal

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:[0-9]{1,12}[smhd]){1,4}", re.ASCII)
_PART = re.compile(r"([0-9]+)([smhd])", re.ASCII)

_KIB = {"KiB": 1, "MiB": 1024, "GiB": 1024**2, "TiB": 1024**3}
_SIZE = re.compile(r"([0-9]{1,12}) ?(KiB|MiB|GiB|TiB)", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,18}", re.ASCII)

_DURATION_REMEDY = 'give whole seconds, or a duration such as "90s", "15m" or "1h30m"'
_SIZE_REMEDY = 'give whole MiB, or a size such as "512MiB" or "4GiB"'
_WHOLE_REMEDY = "give a whole number"
_FLAGS = {"true": True, "false": False}


def seconds(value: object) -> object:
    """Return a duration in whole seconds; raises a refusal with a remedy."""
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(value))
    return _number(value, "this is no duration", _DURATION_REMEDY)


def period(value: object) -> object:
    """Return a short duration in seconds, which may have a fraction."""
    return value if isinstance(value, float) else seconds(value)


def mebibytes(value: object) -> object:
    """Return a size in whole MiB; raises a refusal with a remedy."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return _number(value, "this is no size", _SIZE_REMEDY)
    kib = int(match[1]) * _KIB[match[2]]
    if kib % 1024:
        raise refusal("the size is no whole number of MiB", _SIZE_REMEDY)
    return kib // 1024


def whole(value: object) -> object:
    """Return a whole number, given as one or, in the environment, as its digits."""
    return _number(value, "this is no whole number", _WHOLE_REMEDY)


def flag(value: object) -> object:
    """Return a truth value, given as one or, in the environment, as `true` or `false`."""
    chosen = _FLAGS.get(value, value) if isinstance(value, str) else value
    if not isinstance(chosen, bool):
        raise refusal("this is neither true nor false", "give true or false, without quotes")
    return chosen


def _number(value: object, message: str, remedy: str) -> int:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise refusal(message, remedy)
    return value


MOST_SECONDS = 10 * 365 * 24 * 3600
MOST_MB = 1 << 40

Seconds = Annotated[int, BeforeValidator(seconds), Field(ge=1, le=MOST_SECONDS)]
Period = Annotated[float, BeforeValidator(period), Field(ge=0.1, le=3600, allow_inf_nan=False)]
Mebibytes = Annotated[int, BeforeValidator(mebibytes), Field(ge=0, le=MOST_MB)]
Whole = Annotated[int, BeforeValidator(whole)]
Flag = Annotated[bool, BeforeValidator(flag)]
