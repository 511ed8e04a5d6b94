"""When a sandbox is ready: its domain runs, its address is known, and SSH answers if so asked.

That SSH answered is a fact of the record, written by who logged in; it is forgotten together with
the address, since both are of one run of the guest.
"""

from __future__ import annotations

from scheduler.lifecycle.sightings import Absent, Seen
from scheduler.lifecycle.steps import Become, ConditionKind, SeekAddress, Step, TrySsh
from scheduler.model import Readiness, Sandbox, SandboxState


def go_on(sandbox: Sandbox) -> Step:
    """Return what brings a sandbox whose domain runs nearer to being ready."""
    if sandbox.ip_address is None:
        return SeekAddress()
    if _wants_ssh(sandbox):
        return TrySsh()
    answered = "" if sandbox.ssh_seen_at is None else ", where SSH answers"
    return Become(
        state=SandboxState.RUNNING,
        reason_code="running",
        reason_message=f"the domain runs and has the address {sandbox.ip_address}{answered}",
    )


def missing(sandbox: Sandbox, seen: Seen) -> str:
    """Return what a sandbox that took too long still lacked, to follow `the domain`."""
    if isinstance(seen, Absent):
        return "was not built"
    if sandbox.ip_address is None:
        return "had no known address"
    said = (c.message for c in sandbox.conditions if c.kind == ConditionKind.SSH_SILENT)
    why = next(said, None)
    return "did not answer over SSH" + ("" if why is None else f" ({why})")


def _wants_ssh(sandbox: Sandbox) -> bool:
    return sandbox.ready is Readiness.SSH and sandbox.ssh_seen_at is None
