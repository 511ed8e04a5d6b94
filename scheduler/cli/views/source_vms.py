"""Machines on the hosts that are not sandboxes: how far each is prepared, who looked at it."""

from __future__ import annotations

import shlex
from collections import Counter
from datetime import datetime
from typing import Any

from scheduler.cli.moments import age, moment
from scheduler.cli.printing import Pairs, Printer, View
from scheduler.cli.quantities import short_size
from scheduler.cli.tables import Column
from scheduler.cli.views.states import state, text_of

Document = dict[str, Any]

_STEPS = (
    Column(header="STEP", cell=lambda step: text_of(step["name"])),
    Column(header="STATE", cell=lambda step: state(step["state"])),
    Column(header="RESULT", cell=lambda step: text_of(step["said"]), flexible=True),
)
_PLAN = (
    Column(header="STEP", cell=lambda step: text_of(step["name"])),
    Column(header="PURPOSE", cell=lambda step: text_of(step["purpose"]), flexible=True),
)
_SECRETS = (
    Column(header="SECRET", cell=lambda secret: text_of(secret["kind"])),
    Column(header="WHAT", cell=lambda secret: text_of(secret["what"]), flexible=True),
)

VIEW = View(
    reference=lambda source: f"{source['host_name']}/{source['name']}",
    columns=(
        Column(header="HOST", cell=lambda source: text_of(source["host_name"])),
        Column(header="NAME", cell=lambda source: text_of(source["name"])),
        Column(header="STATE", cell=lambda source: text_of(source["state"])),
        Column(header="VCPUS", cell=lambda source: text_of(source["vcpus"]), right=True),
        Column(header="MEMORY", cell=lambda one: short_size(one["memory_mb"]), right=True),
        Column(header="SEEN", cell=lambda one: f"{one['seen_seconds_ago']:.0f}s", right=True),
        Column(header="PREPARED", cell=lambda source: text_of(source["prepared"])),
        Column(header="UUID", cell=lambda source: text_of(source["uuid"]), wide=True),
    ),
)


def inspections(now: datetime) -> View:
    """Return the view of looks at a time."""
    return View(
        reference=lambda look: str(look["id"]),
        columns=(
            Column(header="ID", cell=lambda look: text_of(look["id"])),
            Column(header="STATUS", cell=lambda look: state(look["status"])),
            Column(header="EXIT", cell=lambda look: text_of(look["exit_code"]), right=True),
            Column(header="AGE", cell=lambda look: age(look["asked_at"], now), right=True),
            Column(header="BY", cell=lambda look: text_of(look["actor"])),
            Column(header="COMMAND", cell=lambda look: shlex.join(look["argv"])),
            Column(header="REASON", cell=lambda look: text_of(look["reason"]), flexible=True),
        ),
    )


def draw(printer: Printer, source: Document) -> None:
    """Print everything about one machine."""
    printer.pairs(_pairs(source))
    preparation = source["preparation"]
    if preparation is None:
        return
    printer.lines([""])
    printer.table(_STEPS, preparation["steps"])
    if preparation["secrets"]:
        printer.lines([""])
        printer.table(_SECRETS, preparation["secrets"])


def draw_plan(printer: Printer, plan: Document) -> None:
    """Print what a preparation would do, and what is in its way."""
    printer.table(_PLAN, plan["steps"])
    if plan["blockers"]:
        printer.lines(["", *(f"in the way: {blocker}" for blocker in plan["blockers"])])


def _pairs(source: Document) -> Pairs:
    pairs: list[tuple[str, Any]] = [
        ("machine", f"{source['host_name']}/{source['name']}"),
        ("uuid", text_of(source["uuid"])),
        ("state", text_of(source["state"])),
        ("size", f"{source['vcpus']} vCPUs, {short_size(source['memory_mb'])}"),
        ("seen", f"{source['seen_seconds_ago']:.0f}s ago"),
        ("prepared", _prepared(source)),
        ("authority", text_of(source["ca_fingerprint"])),
        ("host key", text_of(source["host_key"])),
    ]
    preparation = source["preparation"]
    if preparation is not None:
        asked = f"{moment(preparation['asked_at'])} by {preparation['actor']}"
        pairs.append(("agreed to", f"{asked}, as {preparation['user']}"))
        pairs.append(("outcome", state(preparation["outcome"])))
        found = Counter(secret["kind"] for secret in preparation["secrets"])
        pairs.append(("secrets", text_of({kind: str(count) for kind, count in found.items()})))
        if preparation["reason"]:
            pairs.append(("reason", text_of(preparation["reason"])))
    return pairs


def _prepared(source: Document) -> str:
    if source["prepared"]:
        return f"yes, {moment(source['prepared_at'])}"
    return f"no: {source['unprepared_because']}"
