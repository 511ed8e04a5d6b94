"""Durations and sizes as people write them (`90s`, `1h30m`, `4GiB`, `512M`), both ways.

The API speaks whole seconds and MiB. A number without a unit is refused: 60 could be seconds or
minutes, and guessing wrong destroys a sandbox early.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

SECONDS: Mapping[str, int] = {"d": 86400, "h": 3600, "m": 60, "s": 1}
MEBIBYTES: Mapping[str, int] = {"M": 1, "G": 1024, "T": 1024 * 1024}

_DURATION = re.compile(r"(?:[0-9]{1,9}[dhms])+")
_DURATION_PART = re.compile(r"([0-9]+)([dhms])")
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([MGT])(?:iB)?")


def seconds_of(text: str) -> int:
    """Return the seconds a duration such as `90s` or `1h30m` stands for; ValueError otherwise."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write it like 90s, 15m, 2h, 1d or 1h30m")
    return sum(int(count) * SECONDS[unit] for count, unit in _DURATION_PART.findall(text))


def mebibytes_of(text: str) -> int:
    """Return the MiB a size such as `4GiB` or `512M` stands for; ValueError otherwise."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a size; write it like 512M or 4GiB (M, G and T are MiB, GiB and TiB)"
        )
    amount = float(match[1]) * MEBIBYTES[match[2]]
    if amount != int(amount):
        raise ValueError(f"{text!r} is not a whole number of MiB")
    return int(amount)


def short_duration(seconds: float) -> str:
    """Return a duration in its two largest units, `2h5m`; below a second it is `0s`."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, length in SECONDS.items():
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
        if len(parts) == 2:
            break
    return "".join(parts) or "0s"


def short_size(mebibytes: float) -> str:
    """Return a size in the largest unit that keeps it above one, `1.5 GiB`."""
    for unit, length in (("TiB", MEBIBYTES["T"]), ("GiB", MEBIBYTES["G"])):
        if abs(mebibytes) >= length:
            return f"{_short_number(mebibytes / length)} {unit}"
    return f"{_short_number(mebibytes)} MiB"


def share(used_mebibytes: float, limit_mebibytes: float) -> str:
    """Return `used/limit` in the limit's unit, `12/62.5 GiB`."""
    for unit, length in (("TiB", MEBIBYTES["T"]), ("GiB", MEBIBYTES["G"])):
        if abs(limit_mebibytes) >= length:
            used, limit = used_mebibytes / length, limit_mebibytes / length
            return f"{_short_number(used)}/{_short_number(limit)} {unit}"
    return f"{_short_number(used_mebibytes)}/{_short_number(limit_mebibytes)} MiB"


def _short_number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
