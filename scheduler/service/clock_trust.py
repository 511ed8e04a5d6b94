"""What is thought of the clock, as it is written down for the next look and the next daemon."""

from __future__ import annotations

import json
from datetime import datetime

from scheduler.clock import Clock
from scheduler.lifecycle.clock_trust import ClockTrust, Reading
from scheduler.store import Transaction

TRUST_SETTING = "clock.trust"
LATEST_SETTING = "clock.latest"
"""Apart, and so are the bases: an older version reads two readings in the one above, no more."""
BASES_SETTING = "clock.bases"


def clock_trust(tx: Transaction) -> ClockTrust | None:
    """Return what was thought of the clock at the last look; None before the first."""
    text = tx.settings.get(TRUST_SETTING)
    if text is None:
        return None
    believed, doubted = (None if one is None else _reading(*one) for one in json.loads(text))
    if believed is None:
        return None
    base, doubted_base = _bases(tx)
    if base is not None and base.boot_id != believed.boot_id:
        base = None  # an older version went on since
    if doubted is None:
        return ClockTrust(believed=believed, base=base)
    text = tx.settings.get(LATEST_SETTING)
    latest = doubted if text is None else _reading(*json.loads(text))
    if doubted_base is not None and doubted_base.boot_id != latest.boot_id:
        doubted_base = None
    if doubted_base is None and doubted.boot_id != latest.boot_id:
        doubted_base = latest
    return ClockTrust(
        believed=believed, doubted=doubted, latest=latest, base=base, doubted_base=doubted_base
    )


def keep_clock_trust(tx: Transaction, trust: ClockTrust) -> None:
    """Write down what is thought of the clock now."""
    tx.settings.put(TRUST_SETTING, _written(trust.believed, trust.doubted))
    tx.settings.put(BASES_SETTING, _written(trust.base, trust.doubted_base))
    if trust.latest is not None:
        tx.settings.put(LATEST_SETTING, json.dumps(_plain(trust.latest)))


def reading(clock: Clock) -> Reading:
    """Read the clock."""
    return Reading(at=clock.now(), boot_id=clock.boot_id, boot_seconds=clock.boottime())


def _bases(tx: Transaction) -> tuple[Reading | None, Reading | None]:
    text = tx.settings.get(BASES_SETTING)
    if text is None:
        return None, None
    base, doubted_base = (None if one is None else _reading(*one) for one in json.loads(text))
    return base, doubted_base


def _written(*readings: Reading | None) -> str:
    return json.dumps([None if one is None else _plain(one) for one in readings])


def _reading(at: str, boot_id: str, boot_seconds: float) -> Reading:
    return Reading(at=datetime.fromisoformat(at), boot_id=boot_id, boot_seconds=boot_seconds)


def _plain(one: Reading) -> tuple[str, str, float]:
    return one.at.isoformat(), one.boot_id, one.boot_seconds
