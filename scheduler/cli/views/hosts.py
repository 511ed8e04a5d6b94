"""Hosts as rows and as a list of fields; amounts are what is reserved of what may be."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from scheduler.cli.moments import absolute, age, moment
from scheduler.cli.printing import Pairs, View
from scheduler.cli.quantities import share, short_size
from scheduler.cli.tables import Cell, Column
from scheduler.cli.views.states import state, text_of

Document = dict[str, Any]

# Where a bar of use turns yellow: the next sandbox may not fit.
_NEARLY_FULL = 0.85


def reference(host: Document) -> str:
    """Return the name: hosts are known by it and it never changes."""
    return str(host["name"])


def view(now: datetime) -> View:
    """Return the view of hosts at a time."""
    return View(
        reference=reference,
        columns=(
            Column(header="NAME", cell=reference),
            Column(header="STATE", cell=lambda host: state(host["state"])),
            Column(header="HEALTH", cell=lambda host: state(host["health"])),
            Column(header="SANDBOXES", cell=_sandboxes, right=True),
            Column(header="CPU", cell=_cpus, right=True),
            Column(header="MEMORY", cell=lambda host: _amount(host, "memory"), right=True),
            Column(header="STORAGE", cell=lambda host: _amount(host, "storage"), right=True),
            Column(header="SEEN", cell=lambda host: age(host.get("last_seen_at"), now), right=True),
            Column(header="ADDRESS", cell=lambda host: text_of(host["address"]), wide=True),
            Column(header="TRANSPORT", cell=lambda host: text_of(host["transport"]), wide=True),
            Column(header="VIRT", cell=_virtualisation, wide=True),
            Column(header="ARCH", cell=lambda host: text_of(host.get("arch")), wide=True),
            Column(header="POOL", cell=lambda host: text_of(host.get("pool")), wide=True),
            Column(header="NETWORK", cell=lambda host: text_of(host.get("network")), wide=True),
            Column(header="LABELS", cell=lambda host: text_of(host.get("labels")), wide=True),
            Column(header="REASON", cell=_reason, wide=True, flexible=True),
        ),
    )


def detail(host: Document, now: datetime) -> Pairs:
    """Return one host as named fields."""
    seen, since = host.get("last_seen_at"), host.get("health_since")
    return [
        ("name", reference(host)),
        ("id", text_of(host["id"])),
        ("state", state(host["state"])),
        ("health", state(host["health"])),
        ("health since", absolute(since)),
        ("reason", _reason(host)),
        ("sandboxes", _sandboxes(host)),
        ("cpu", _capacity(host, "cpus", "CPU", str)),
        ("memory", _capacity(host, "memory_mb", "memory", short_size)),
        ("storage", _capacity(host, "storage_mb", "storage", short_size)),
        ("transport", text_of(host["transport"])),
        ("address", text_of(host["address"])),
        ("uri", text_of(host.get("uri"))),
        *identities(host),
        ("libvirt", text_of(host.get("libvirt_version"))),
        ("hypervisor", text_of(host.get("hypervisor_version"))),
        ("virtualisation", _virtualisation(host)),
        ("arch", text_of(host.get("arch"))),
        ("pool", text_of(host.get("pool"))),
        ("network", text_of(host.get("network"))),
        ("other networks", text_of(host.get("networks"))),
        ("images", text_of(host.get("observed_images"))),
        ("labels", text_of(host.get("labels"))),
        ("last seen", f"{absolute(seen)} ({age(seen, now)} ago)" if seen else "never"),
        *(("breaker", _breaker(one, now)) for one in host.get("breakers") or ()),
    ]


def identities(host: Document) -> Pairs:
    """Return which machine the host is known to be, and which other one answers if one does."""
    refused = host.get("refused_host_uuid")
    known: Pairs = [("host uuid", text_of(host.get("host_uuid")))]
    return [*known, ("answers as", Cell(text_of(refused), "bold red"))] if refused else known


def _sandboxes(host: Document) -> str:
    running, limit = host.get("reserved_sandboxes", 0), host.get("limit_sandboxes")
    return f"{running}/{limit}" if limit is not None else str(running)


def _cpus(host: Document) -> Cell:
    reserved, limit = host["reserved_cpus"], host["limit_cpus"]
    return Cell(f"{reserved}/{limit}", _fullness(reserved, limit))


def _amount(host: Document, resource: str) -> Cell:
    reserved, limit = host[f"reserved_{resource}_mb"], host[f"limit_{resource}_mb"]
    return Cell(share(reserved, limit), _fullness(reserved, limit))


def _fullness(reserved: float, limit: float) -> str:
    if reserved > limit:
        return "bold red"
    return "yellow" if limit and reserved / limit >= _NEARLY_FULL else ""


def _capacity(host: Document, field: str, ratio: str, show: Any) -> str:
    def amount(kind: str) -> str:
        return str(show(host.get(f"{kind}_{field}") or 0))

    factor = host.get(f"ratio_{ratio.lower()}", 1)
    return (
        f"{amount('reserved')} of {amount('limit')} reserved"
        f" (total {amount('total')}, kept for the system {amount('system_reserved')},"
        f" ratio {factor:g}, unmanaged {amount('unmanaged')})"
    )


def _virtualisation(host: Document) -> str:
    return text_of(host.get("proven_virt_type") or host.get("virt_type"))


def _breaker(breaker: Document, now: datetime) -> str:
    what = breaker.get("image") or "everything"
    until = moment(breaker.get("retry_at"))
    if until is None or until <= now:
        kept = f"{what} is tried again with the next build"
    elif breaker.get("probe"):
        kept = f"{what} is being tried with {breaker['probe']}"
    else:
        kept = f"{what} is kept out until {absolute(breaker['retry_at'])}"
    return f"{kept} (opened {breaker.get('openings', 1)} times): {breaker['reason']}"


def _reason(host: Document) -> str:
    opened = "builds keep failing" if host.get("breakers") else None
    parts = [host.get("state_reason"), host.get("health_reason"), opened]
    return "; ".join(part for part in parts if part) or "-"
