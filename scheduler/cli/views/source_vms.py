"""Machines on the hosts that are not sandboxes."""

from __future__ import annotations

from scheduler.cli.printing import View
from scheduler.cli.quantities import short_size
from scheduler.cli.tables import Column
from scheduler.cli.views.states import text_of

VIEW = View(
    reference=lambda source: f"{source['host_name']}/{source['name']}",
    columns=(
        Column(header="HOST", cell=lambda source: text_of(source["host_name"])),
        Column(header="NAME", cell=lambda source: text_of(source["name"])),
        Column(header="STATE", cell=lambda source: text_of(source["state"])),
        Column(header="VCPUS", cell=lambda source: text_of(source["vcpus"]), right=True),
        Column(header="MEMORY", cell=lambda one: short_size(one["memory_mb"]), right=True),
        Column(header="SEEN", cell=lambda one: f"{one['seen_seconds_ago']:.0f}s", right=True),
        Column(header="UUID", cell=lambda source: text_of(source["uuid"]), wide=True),
    ),
)
