"""How a sandbox whose end is an image becomes one: names, and when its disk is to be kept.

Pure. The lease's end stops it, as `on_expire = "stop"` does; from then on it is destroyed only once
its image is READY. Names are made of the moment the lease ended, so that an extended sandbox gives
another image at its next end.
"""

from __future__ import annotations

from datetime import datetime

from scheduler.lifecycle.expiry import endings
from scheduler.lifecycle.rules import Case, backing_off, rest
from scheduler.lifecycle.steps import Capture, Step
from scheduler.model import DesiredState, OnExpire, Phase, Sandbox, SandboxState

_LONGEST_NAME = 63
"""Characters of an image's name."""


def ended_at(sandbox: Sandbox) -> datetime | None:
    """Return when the lease ended whose sandbox is to become an image; None for any other.

    It is written once. One that was started or brought back since then has it dated anew: what was
    copied before that is not its disk any more.
    """
    if sandbox.on_expire is not OnExpire.IMAGE or sandbox.desired_state is not DesiredState.STOPPED:
        return None
    return next((ending.since for ending in endings(sandbox)), None)


def capture_or_rest(case: Case) -> Step:
    """Keep the disk of a stopped sandbox as an image, if that is its end."""
    if ended_at(case.sandbox) is None or case.sandbox.state is not SandboxState.STOPPED:
        return rest(case)
    return backing_off(case, Phase.IMAGE) or Capture()


def flat_volume(sandbox: Sandbox, ended: datetime) -> str:
    """Return the name of the volume that holds the whole disk until it is an image."""
    return f"{sandbox.id.lower()}-{_stamp(ended)}.qcow2"


def image_names(sandbox: Sandbox, ended: datetime) -> tuple[str, str]:
    """Return what to call the image, and what instead where that name is taken."""
    return stamped_names(sandbox, _stamp(ended))


def stamped_names(sandbox: Sandbox, stamp: str) -> tuple[str, str]:
    """Return a name for an image of a sandbox's disk, and another one; `stamp` ends both."""
    stem = sandbox.sandbox_name[: _LONGEST_NAME - 1 - len(stamp)].rstrip("-")
    return f"{stem}-{stamp}", f"{sandbox.id.lower()}-{stamp}"


def _stamp(ended: datetime) -> str:
    return f"{ended:%Y%m%d-%H%M%S}"
