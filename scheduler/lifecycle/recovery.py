"""How a sandbox that failed comes back: by itself when its cause is over, or built anew by a retry.

Nothing here undoes what a person did: a guest is resumed only where the hypervisor itself paused it
for a write that failed.
"""

from __future__ import annotations

from scheduler.lifecycle.alternates import only_built, yet_to_be_built
from scheduler.lifecycle.rules import Case, backing_off, build, go_on_to_running, lost, rest
from scheduler.lifecycle.steps import Become, Resume, Step
from scheduler.model import Phase, SandboxState

STORAGE_FULL = "storage_full"


def resume(case: Case) -> Step:
    """Let a guest go on that a full pool stopped, once the pool was seen to have room."""
    has_room = case.pool_free_mb >= case.limits.resume_room_mb
    if case.sandbox.reason_code != STORAGE_FULL or not has_room:
        return rest(case)
    return backing_off(case, Phase.RESUME) or Resume()


def recovered(case: Case) -> Step:
    """Say that a failed one runs after all.

    One that we resumed has to stay up for the pause between two tries first: a pool that is full
    again at once would else make it run and fail without end.
    """
    if case.sandbox.phase is not Phase.RESUME:
        return go_on_to_running(case)
    return backing_off(case, Phase.RESUME) or Become(
        state=SandboxState.RUNNING,
        reason_code="resumed",
        reason_message=f"the pool of {case.sandbox.host_name} has room again: the guest goes on",
    )


def build_or_lose(case: Case) -> Step:
    """Build what is to be built and was never up; what is gone otherwise is lost.

    A stop that comes before the domain does leads there too: it is built, and not started.
    """
    sandbox = case.sandbox
    never_was = only_built(sandbox) or yet_to_be_built(sandbox)
    return build(case) if never_was else lost(case)
