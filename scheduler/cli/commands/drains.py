"""host drain: empty a host, watch it being emptied, or call that off.

A drain is the daemon's work: this command asks, tells and exits, and neither Ctrl-C nor a timeout
stops what was asked for. Only --abort does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from scheduler.cli.deadlines import Deadline
from scheduler.cli.event_stream import EventStream
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.following import Outcome, Subject, event_stream, follow
from scheduler.cli.options import DURATION, given, host_argument, yes_option
from scheduler.cli.paths import segment
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import drains

Document = dict[str, Any]
MODES = ("plan", "detach", "monitor", "abort", "undo")


def _mode(name: str, help_text: str) -> Callable[[Any], Any]:
    return click.option(f"--{name}", is_flag=True, help=help_text)


@click.command(cls=Verb)
@host_argument()
@click.option(
    "--policy",
    type=click.Choice(["expire", "stop", "destroy", "move"]),
    help="What becomes of its sandboxes: wait for their leases, stop, destroy (default) or move"
    " them.",
)
@click.option("--deadline", type=DURATION, help="How long that may take; 1h unless said otherwise.")
@click.option("--no-deadline", is_flag=True, help="Wait for ever.")
@click.option(
    "--on-deadline",
    type=click.Choice(["stop", "destroy", "keep"]),
    help="What becomes of those left at the deadline; destroy unless said otherwise.",
)
@click.option("--reason", help="Why; shown with the host from then on.")
@_mode("plan", "Show what would happen to each sandbox and what is in the way; change nothing.")
@_mode("detach", "Return once it has begun.")
@_mode("monitor", "Only watch the drain under way.")
@_mode("abort", "Call the drain off; what is gone stays gone, the host stays cordoned.")
@_mode("undo", "Make a drained host take sandboxes again.")
@click.option("--timeout", "timeout_seconds", type=DURATION, help="Stop watching after this long.")
@yes_option
def drain(
    session: Session, *, name: str, yes: bool, timeout_seconds: int | None, **options: Any
) -> None:
    """Empty HOST and tell what happens to each of its sandboxes; exit 8 if any is left."""
    modes = [mode for mode in MODES if options.pop(mode)]
    if len(modes) > 1:
        raise click.UsageError(f"--{modes[0]} and --{modes[1]} exclude each other")
    mode = modes[0] if modes else ""
    body = _body(**options)
    if body and mode in ("monitor", "abort", "undo"):
        raise click.UsageError(f"--{mode} takes no {', '.join(sorted(body))}")
    path = f"/v1/hosts/{segment(name)}/drain"
    deadline = Deadline(timeout_seconds)
    if mode in ("abort", "undo"):
        _call_off(session, path, mode)
    elif mode == "plan":
        _show_plan(session, _plan(session, path, body))
    elif mode == "monitor":
        _watch(session, name, _news(session, name, deadline), deadline)
    else:
        _begin(session, name, body, deadline, yes=yes, detach=mode == "detach")


def _body(
    *,
    policy: str | None,
    deadline: int | None,
    no_deadline: bool,
    on_deadline: str | None,
    reason: str | None,
) -> Document:
    if deadline is not None and no_deadline:
        raise click.UsageError("--deadline and --no-deadline exclude each other")
    body = given(policy=policy, deadline_seconds=deadline, on_deadline=on_deadline, reason=reason)
    return body | {"deadline_seconds": None} if no_deadline else body


def _begin(
    session: Session, name: str, body: Document, deadline: Deadline, *, yes: bool, detach: bool
) -> None:
    path = f"/v1/hosts/{segment(name)}/drain"
    if not yes and session.interactive:
        plan = _plan(session, path, body)
        drains.draw_plan(session.errors, plan, session.now())
    session.confirm(f"Drain host {name}, policy {body.get('policy', 'destroy')}?", yes=yes)
    # Opened before the drain begins, so that its first events are told as well.
    stream = _news(session, name, deadline).open()
    begun = session.client.post(path, body)
    if detach:
        stream.close()
        session.printer.one(begun, drains.view(session.now()))
        session.narrator.hint(f"watch it: sandboxctl host drain {name} --monitor")
    else:
        _watch(session, name, stream, deadline)


def _show_plan(session: Session, plan: Document) -> None:
    now = session.now()
    touched = [str(action["sandbox_id"]) for action in plan["actions"]]
    session.printer.drawing(plan, touched, lambda printer: drains.draw_plan(printer, plan, now))


def _plan(session: Session, path: str, body: Document) -> Document:
    return dict(session.client.post(path, body, dry_run=True))


def _news(session: Session, name: str, deadline: Deadline) -> EventStream:
    return event_stream(session, deadline, host=name, last=0)


class _Departures:
    """Tells which host has taken what a drain moves: that is news of the other host, not of this.

    What is destroyed, or left by itself, is news of this one.
    """

    def __init__(self, session: Session, before: Document) -> None:
        self._session = session
        self._here = _names(before)

    def told(self, drain: Document) -> Document:
        """Return a drain as it is by now, once it was told who has left since the last time."""
        left = self._here.keys() - _names(drain).keys() if drain["policy"] == "move" else ()
        for sandbox_id in sorted(left):
            box = self._session.client.get(f"/v1/sandboxes/{segment(sandbox_id)}")
            if box["host_id"] != drain["host_id"]:
                text = f"{self._here[sandbox_id]} is on {box['host_name']} now"
                self._session.narrator.happened(text, self._session.now())
            del self._here[sandbox_id]
        self._here |= _names(drain)
        return drain


def _names(drain: Document) -> dict[str, str]:
    return {str(one["sandbox_id"]): str(one["sandbox_name"]) for one in drain["actions"]}


def _watch(session: Session, name: str, stream: EventStream, deadline: Deadline) -> None:
    path = f"/v1/hosts/{segment(name)}/drain"
    before = session.client.get(path)
    departures = _Departures(session, before)
    subject = Subject(
        stream=stream,
        names={before["host_id"]: name} | _names(before),
        read=lambda: departures.told(dict(session.client.get(path))),
        outcome=_ended,
        awaited=lambda found: f"{name}: {found['remaining']} of {found['total']} left",
        reattach=f"sandboxctl host drain {name} --monitor",
    )
    ended = follow(session, subject, deadline)
    session.printer.one(ended, drains.view(session.now()))
    if ended["remaining"]:
        raise click.exceptions.Exit(Exit.LEFTOVERS)


def _ended(found: Document) -> Outcome:
    if found["state"] == "ABORTED":
        return Failure(
            f"the drain of {found['host_name']} was called off, {found['remaining']} are left",
            exit_code=Exit.LEFTOVERS,
        )
    return bool(found["state"] != "ACTIVE")


def _call_off(session: Session, path: str, verb: str) -> None:
    answer = session.client.post(f"{path}/{verb}", {})
    session.printer.one(answer, drains.view(session.now()))
