"""What is thought of the clock, as it is written down for the next look and the next daemon."""

from __future__ import annotations

import json
from datetime import datetime

from scheduler.clock import Clock
from scheduler.lifecycle.clock_trust import ClockTrust, Reading
from scheduler.store import Transaction

TRUST_SETTING = "clock.trust"
LATEST_SETTING = "clock.latest"
"""Apart, since an older version reads two readings in the one above, and no more."""


def clock_trust(tx: Transaction) -> ClockTrust | None:
    """Return what was thought of the clock at the last look; None before the first."""
    text = tx.settings.get(TRUST_SETTING)
    if text is None:
        return None
    believed, doubted = (None if one is None else _reading(*one) for one in json.loads(text))
    if believed is None:
        return None
    latest = tx.settings.get(LATEST_SETTING)
    if doubted is None or latest is None:
        return ClockTrust(believed=believed, doubted=doubted, latest=doubted)
    return ClockTrust(believed=believed, doubted=doubted, latest=_reading(*json.loads(latest)))


def keep_clock_trust(tx: Transaction, trust: ClockTrust) -> None:
    """Write down what is thought of the clock now."""
    readings = (trust.believed, trust.doubted)
    tx.settings.put(TRUST_SETTING, json.dumps([one and _plain(one) for one in readings]))
    if trust.latest is not None:
        tx.settings.put(LATEST_SETTING, json.dumps(_plain(trust.latest)))


def reading(clock: Clock) -> Reading:
    """Read the clock."""
    return Reading(at=clock.now(), boot_id=clock.boot_id, boot_seconds=clock.boottime())


def _reading(at: str, boot_id: str, boot_seconds: float) -> Reading:
    return Reading(at=datetime.fromisoformat(at), boot_id=boot_id, boot_seconds=boot_seconds)


def _plain(one: Reading) -> tuple[str, str, float]:
    return one.at.isoformat(), one.boot_id, one.boot_seconds
