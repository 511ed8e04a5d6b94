"""Sandboxes as rows and as a list of fields."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from itertools import pairwise, takewhile
from typing import Any

from scheduler.cli.moments import absolute, age, remaining
from scheduler.cli.printing import Pairs, View
from scheduler.cli.quantities import short_duration, short_size
from scheduler.cli.tables import Cell, Column
from scheduler.cli.views.states import state, text_of

Document = dict[str, Any]

# Prefix and time part of an id, and a little of its random part.
_SHORT_ID = 16


def reference(sandbox: Document) -> str:
    """Return the id: a name may be given to another sandbox once this one is gone."""
    return str(sandbox["id"])


def view(now: datetime, shown: Iterable[Document] = ()) -> View:
    """Return the view of sandboxes at a time; ids are shortened as far as `shown` stay distinct."""
    ids = [str(sandbox["id"]) for sandbox in shown]
    length = distinct_length(ids)
    return View(
        reference=reference,
        columns=(
            Column(header="NAME", cell=lambda box: text_of(box["sandbox_name"])),
            Column(header="ID", cell=lambda box: box["id"][:length]),
            Column(header="STATE", cell=_state),
            Column(header="HOST", cell=_host),
            Column(header="IP", cell=lambda box: text_of(box.get("ip_address"))),
            Column(header="AGE", cell=lambda box: age(box["created_at"], now), right=True),
            Column(header="EXPIRES", cell=lambda box: _expires(box, now), right=True),
            Column(header="CPU", cell=lambda box: text_of(box["vcpus"]), wide=True, right=True),
            Column(
                header="MEMORY",
                cell=lambda box: short_size(box["memory_mb"]),
                wide=True,
                right=True,
            ),
            Column(
                header="STORAGE",
                cell=lambda box: short_size(box["storage_mb"]),
                wide=True,
                right=True,
            ),
            Column(header="AGENT", cell=lambda box: text_of(box["agent_id"]), wide=True),
            Column(header="JOB", cell=lambda box: text_of(box["job_id"]), wide=True),
            Column(header="NETWORK", cell=lambda box: text_of(box["network"]), wide=True),
            Column(header="LABELS", cell=lambda box: text_of(box.get("labels")), wide=True),
            Column(header="FULL ID", cell=reference, wide=True),
            Column(header="IMAGE", cell=lambda box: text_of(box["base_image"])),
            Column(header="REASON", cell=_reason, flexible=True),
        ),
    )


def detail(box: Document, now: datetime) -> Pairs:
    """Return one sandbox as named fields, what people look for first on top."""
    pairs: list[tuple[str, str | Cell]] = [
        ("name", text_of(box["sandbox_name"])),
        ("id", reference(box)),
        ("state", _state(box)),
        ("reason", _reason(box)),
        ("ip", _address(box)),
        ("ready", "once SSH answers" if box.get("ready") == "ssh" else "once it has an address"),
        ("host", text_of(box.get("host_name"))),
        ("image", text_of(box["base_image"])),
        ("size", _size(box)),
        ("network", text_of(box["network"]) + (", isolated" if box.get("isolation") else "")),
        ("mac", text_of(box.get("mac"))),
        ("domain uuid", text_of(box.get("domain_uuid"))),
        ("agent", text_of(box["agent_id"])),
        ("job", text_of(box["job_id"])),
        ("labels", text_of(box.get("labels"))),
        ("created", _since(box["created_at"], now)),
        ("running", _since(box.get("running_at"), now)),
        ("ttl", _ttl(box)),
        ("expires", _lease_end(box, now)),
        ("decision", text_of(box.get("decision_id"))),
    ]
    if box.get("move_asked_at"):
        pairs.append(("move", _move(box, now)))
    if box.get("moved_at"):
        pairs.append(("moved here", _since(box["moved_at"], now)))
    pairs += [
        ("failed host", f"{one['host_name']} at {absolute(one['at'])}: {one['message']}")
        for one in box.get("failed_hosts") or ()
    ]
    pairs += [
        ("condition", f"{found['kind']} since {absolute(found['since'])}: {found['message']}")
        for found in box.get("conditions") or ()
    ]
    return pairs


def distinct_length(ids: Collection[str]) -> int:
    """Return how many leading characters tell these ids apart, at least a readable number."""
    ordered = sorted(set(ids))
    shared = (_shared_length(one, other) for one, other in pairwise(ordered))
    return max(_SHORT_ID, max(shared, default=0) + 1)


def _shared_length(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _state(box: Document) -> Cell:
    shown = state(box["state"])
    wanted = box.get("desired_state")
    settled = wanted in (None, "RUNNING", box["state"]) or box["state"] == "ERROR"
    # STOPPED while it is being destroyed would read as if nothing were happening.
    return shown if settled else Cell(f"{shown.text} -> {wanted}", shown.style)


def _host(box: Document) -> Cell:
    host = text_of(box.get("host_name"))
    if not box.get("move_asked_at"):
        return Cell(host)
    return Cell(f"{host} -> {box.get('move_to') or 'another'}", "yellow")


def _move(box: Document, now: datetime) -> str:
    whither, why = box.get("move_to") or "another host", box.get("move_reason")
    asked = f"to {whither}, asked for {_since(box['move_asked_at'], now)}"
    return f"{asked}: {why}" if why else asked


def _reason(box: Document) -> str:
    conditions = [found["kind"] for found in box.get("conditions") or ()]
    parts = [*conditions, box.get("reason_message") or box.get("reason_code")]
    return "; ".join(part for part in parts if part) or "-"


def _address(box: Document) -> str:
    address, source = box.get("ip_address"), box.get("ip_source")
    return f"{address} (from {source})" if address and source else text_of(address)


def _size(box: Document) -> str:
    memory, storage = short_size(box["memory_mb"]), short_size(box["storage_mb"])
    return f"{box['vcpus']} vCPU, {memory} memory, {storage} storage"


def _since(text: object, now: datetime) -> str:
    return f"{absolute(text)} ({age(text, now)} ago)" if text else "-"


def _expires(box: Document, now: datetime) -> str:
    return "-" if box["state"] == "DESTROYED" else remaining(box.get("expires_at"), now)


def _ttl(box: Document) -> str:
    if box.get("ttl_seconds") is None:
        return "no limit"
    return f"{short_duration(box['ttl_seconds'])}, then {box.get('on_expire', 'destroy')}"


def _lease_end(box: Document, now: datetime) -> str:
    text = box.get("expires_at")
    return f"{absolute(text)} (in {remaining(text, now)})" if text else "-"
