"""Plays a stored playbook on one sandbox, and tells how its tasks ended, host by host apart.

Each sandbox has a jail of its own, with a key that opens no other one. The recap comes from a
plugin of ours, never from what was printed.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scheduler.guests.players import RECAP, Staging, Way, ended_in_jail, shown
from scheduler.model import HostResources, PlayStatus, Recap, Sandbox
from scheduler.processes import Ended

PLUGIN = Path(__file__).with_name("recap_plugin.py")
MOST_LOG = 65536
_GROUPS = ("all", "ungrouped")
_COUNTS = ("ok", "changed", "unreachable", "failed", "skipped", "rescued", "ignored")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayOrder:
    """What is to be played."""

    yaml: str
    check: bool
    limit_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayEnd:
    """How a play ended."""

    status: PlayStatus
    recap: Recap | None
    reason: str | None
    log: str


class PlaybookPlayer:
    """Plays playbooks; each in a private directory that goes with it."""

    def __init__(self, way: Way) -> None:
        self._way = way

    async def play(self, order: PlayOrder, sandbox: Sandbox, host: HostResources) -> PlayEnd:
        """Play on a guest; raises `GuestUnreachable`, also where Ansible is not installed."""
        name = sandbox.sandbox_name
        # Ansible would take these for its groups.
        name = sandbox.id.lower() if name in _GROUPS else name
        staging = Staging(
            lay_out=partial(_lay_out, order.yaml),
            limit_seconds=order.limit_seconds,
            purpose="playbook",
            name=name,
            options=("--limit", name, *(("--check",) if order.check else ())),
            environment=_environment,
        )
        ended, left = await ended_in_jail(self._way, staging, sandbox, host)
        return await asyncio.to_thread(judged, ended, left, name, order)


def _lay_out(yaml: str, private: Path) -> None:
    (private / "play").mkdir()
    (private / "plugins").mkdir()
    (private / "play" / "site.yml").write_text(yaml, "ascii")
    shutil.copyfile(PLUGIN, private / "plugins" / "sandboxd_recap.py")


def _environment(private: Path) -> Mapping[str, str]:
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(private / "plugins"),
        "ANSIBLE_CALLBACKS_ENABLED": "sandboxd_recap",
        "SANDBOXD_RECAP": str(private / RECAP),
    }


def judged(ended: Ended, left: bytes, name: str, order: PlayOrder) -> PlayEnd:
    """Return what a play's exit code and the recap it left mean."""
    recap, fault = _recap_of(left, name)
    status, reason = PlayStatus.FAILED, fault
    if ended.code is None:
        status = PlayStatus.TIMED_OUT
        reason = f"it did not end within {order.limit_seconds:.0f} s; what its last task began"
        reason += " in the guest may go on"
    elif recap is not None and recap.unreachable:
        status = PlayStatus.UNREACHABLE
    elif ended.code == 0 and recap is not None:
        status, reason = PlayStatus.SUCCEEDED, None
    elif ended.code == 0:
        reason = f"the playbook's hosts do not match {name}: nothing was played"
    else:
        reason = fault or f"ansible-playbook ended with exit code {ended.code}: see its log"
    told = None if reason is None else shown(reason)[:500]
    return PlayEnd(status=status, recap=recap, reason=told, log=shown(ended.output)[-MOST_LOG:])


def _recap_of(left: bytes, name: str) -> tuple[Recap | None, str | None]:
    """Return the counts of a host and its fault; what is no recap is none."""
    try:
        found = json.loads(left)
        counts, fault = found["counts"].get(name), found["faults"].get(name)
        if counts is None:
            return None, None
        numbers = {one: min(max(int(counts.get(one, 0)), 0), 10**6) for one in _COUNTS}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, None
    return Recap(**numbers), fault if isinstance(fault, str) else None
