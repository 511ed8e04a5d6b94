"""Change sets on their way: waited for until they are made, and until they are verified."""

from __future__ import annotations

from typing import Any

from scheduler.cli.deadlines import Deadline
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.paths import segment
from scheduler.cli.session import Session
from scheduler.cli.views import change_sets

Document = dict[str, Any]

WAIT_SECONDS = 20.0


def verified(session: Session, id: str, deadline: Deadline, *, no_wait: bool = False) -> Document:
    """Have a change set verified; raises `Failure` when the verification does not pass."""
    begun = dict(session.client.post(f"{path_of(id)}/verify"))
    done = followed(session, begun, deadline, no_wait=no_wait)
    verification = done["verification"] or {}
    if verification.get("result") in ("FAILED", "ERROR"):
        raise Failure(
            f"the verification of {done['id']} is {verification['result']}: "
            f"{verification['reason']}",
            exit_code=Exit.FAILED,
            reasons=tuple(map(change_sets.remainder, verification["remaining"][:20])),
            hint=f"what the play said: sandboxctl changeset show {done['id']} --log",
            document=done,
        )
    return done


def followed(
    session: Session, made: Document, deadline: Deadline, *, no_wait: bool = False
) -> Document:
    """Wait until a change set rests, and its verification with it."""
    with session.narrator.waiting(change_sets.told(made)):
        while not no_wait and not _rests(made):
            if deadline.passed:
                raise Failure(
                    f"{change_sets.told(made)} still",
                    exit_code=Exit.TIMED_OUT,
                    hint=f"it goes on; see: sandboxctl changeset show {made['id']}",
                )
            milliseconds = max(1, round(deadline.within(WAIT_SECONDS) * 1000))
            before = change_sets.told(made)
            made = dict(session.client.get(path_of(made["id"]), wait=f"{milliseconds}ms"))
            if change_sets.told(made) != before:
                session.narrator.happened(change_sets.told(made), session.now())
    if made["state"] == "FAILED":
        raise Failure(
            f"change set {made['id']} could not be made: {made['reason']}",
            exit_code=Exit.FAILED,
            hint="look at the diff it is made of",
            document=made,
        )
    return made


def path_of(id: str) -> str:
    """Return a change set's path."""
    return f"/v1/change-sets/{segment(id.upper())}"


def _rests(made: Document) -> bool:
    verification = made["verification"]
    return made["state"] in ("READY", "FAILED") and (
        verification is None or verification["phase"] == "DONE"
    )
