"""What a sandbox holds, and so what destroying it removes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from scheduler.cli.printing import View
from scheduler.cli.quantities import short_size
from scheduler.cli.tables import Column
from scheduler.cli.views.states import text_of

Document = dict[str, Any]

VIEW = View(
    reference=lambda held: str(held["sandbox"]["id"]),
    columns=(
        Column(header="SANDBOX", cell=lambda row: text_of(row["sandbox"])),
        Column(header="HOLDS", cell=lambda row: text_of(row["kind"])),
        Column(header="NAME", cell=lambda row: text_of(row["name"])),
        Column(header="HOST", cell=lambda row: text_of(row["host"])),
        Column(header="STATE", cell=lambda row: text_of(row["state"])),
    ),
)


def rows(holdings: Iterable[Document]) -> Iterator[Document]:
    """Yield a row for each object held."""
    for held in holdings:
        box = held["sandbox"]
        for kind, name, state in _objects(held):
            yield {
                "sandbox": box["sandbox_name"],
                "kind": kind,
                "name": name,
                "host": box.get("host_name"),
                "state": state,
            }


def _objects(held: Document) -> Iterator[tuple[str, object, object]]:
    box = held["sandbox"]
    yield "domain", box.get("domain_uuid"), box["state"]
    for volume in held["volumes"]:
        yield f"{volume['role']} volume", f"{volume['pool']}/{volume['name']}", volume["state"]
    for claim in held["allocations"]:
        size = f"{claim['vcpus']} vCPU, {short_size(claim['memory_mb'])} memory"
        yield "allocation", f"{size}, {short_size(claim['storage_mb'])} storage", claim["state"]
