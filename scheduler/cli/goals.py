"""What a sandbox is watched for, and when waiting for it has become pointless."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.following import Outcome

Document = dict[str, Any]
Goal = Callable[[Document], Outcome]

STATES = ("CREATED", "STARTING", "RUNNING", "STOPPED", "ERROR", "DESTROYED")


def reaches(*states: str) -> Goal:
    """Return the goal of being in one of these states."""

    def outcome(box: Document) -> Outcome:
        if box["state"] in states:
            return True
        if box["state"] == "DESTROYED":
            return _gone(box)
        # While work is under way a sandbox may still leave ERROR: a retry does just that.
        if box["state"] == "ERROR" and box.get("phase") is None and "ERROR" not in states:
            return _in_error(box)
        if states == ("RUNNING",) and box.get("desired_state") not in (None, "RUNNING"):
            return _unwanted(box)
        return False

    return outcome


def has_address(box: Document) -> Outcome:
    """Be reached once the sandbox's address is known; pointless when it will not run."""
    if box.get("ip_address"):
        return True
    running = reaches("RUNNING")(box)
    return running if isinstance(running, Failure) else False


def has_moved(box: Document) -> Outcome:
    """Be reached once no move is asked for any more and the sandbox is as it is meant to be."""
    if box["state"] == "DESTROYED":
        return _gone(box)
    rests = reaches(str(box["desired_state"]))(box)
    return rests if isinstance(rests, Failure) else bool(rests) and not box.get("move_asked_at")


def all_of(goals: Sequence[Goal]) -> Goal:
    """Return the goal of reaching all of these at once; the first failure counts."""

    def outcome(box: Document) -> Outcome:
        outcomes = [goal(box) for goal in goals]
        failures = [found for found in outcomes if isinstance(found, Failure)]
        return failures[0] if failures else all(outcomes)

    return outcome


_WORDS: Mapping[str, Goal] = {"ip": has_address, "moved": has_moved}


def parse(text: str) -> Goal:
    """Return the goal a user wrote: `state=RUNNING`, `state=STOPPED,ERROR`, `moved` or `ip`."""
    if text in _WORDS:
        return _WORDS[text]
    key, _, value = text.partition("=")
    states = tuple(value.upper().split(","))
    unknown = [state for state in states if state not in STATES]
    if key != "state" or unknown:
        raise ValueError(
            f"{text!r} is nothing to wait for; say ip, moved, or state= one or more of"
            f" {','.join(STATES)}"
        )
    return reaches(*states)


def _in_error(box: Document) -> Failure:
    why = box.get("reason_message") or box.get("reason_code") or "no reason is recorded"
    return Failure(
        f"sandbox {box['sandbox_name']} is in ERROR: {why}",
        hint=f"try again: sandboxctl retry {box['id']}; its story: sandboxctl events --sandbox"
        f" {box['id']}",
        document=_problem("sandbox_failed", box, str(why)),
    )


def _gone(box: Document) -> Failure:
    why = box.get("reason_message") or box.get("reason_code") or "no reason is recorded"
    return Failure(
        f"sandbox {box['sandbox_name']} has been destroyed: {why}",
        exit_code=Exit.FAILED,
        hint=f"its story: sandboxctl events --sandbox {box['id']}",
        document=_problem("sandbox_destroyed", box, str(why)),
    )


def _unwanted(box: Document) -> Failure:
    wanted = str(box["desired_state"])
    return Failure(
        f"sandbox {box['sandbox_name']} will not run: it is now meant to be {wanted}",
        hint=f"its story: sandboxctl events --sandbox {box['id']}",
        document=_problem("sandbox_redirected", box, f"it is now meant to be {wanted}"),
    )


def _problem(code: str, box: Document, detail: str) -> Document:
    return {
        "type": "about:blank",
        "title": code.replace("_", " "),
        "code": code,
        "detail": detail,
        "sandbox": box,
    }
