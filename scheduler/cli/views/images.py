"""Images: how far each has come, which hosts hold it, who was made from it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from scheduler.cli.moments import age, moment
from scheduler.cli.printing import Pairs, Printer, View
from scheduler.cli.quantities import short_size
from scheduler.cli.tables import Column
from scheduler.cli.views.states import state, text_of

Document = dict[str, Any]
MIB = 2**20


def view(now: datetime) -> View:
    """Return the view of images at a time."""
    return View(
        reference=lambda image: str(image["name"]),
        columns=(
            Column(header="NAME", cell=lambda image: text_of(image["name"])),
            Column(header="STATE", cell=lambda image: state(image["state"])),
            Column(header="FORMAT", cell=lambda image: text_of(image["format"])),
            Column(header="SIZE", cell=lambda image: _size(image["size_bytes"]), right=True),
            Column(header="DISK", cell=lambda image: _size(image["virtual_bytes"]), right=True),
            Column(header="HOSTS", cell=_held, right=True),
            Column(header="CLONES", cell=lambda image: str(len(image["clones"])), right=True),
            Column(header="OF", cell=_owner),
            Column(header="AGE", cell=lambda image: age(image["created_at"], now), right=True),
            Column(header="ID", cell=lambda image: text_of(image["id"]), wide=True),
            Column(header="DIGEST", cell=lambda image: text_of(image["digest"]), wide=True),
            Column(header="BY", cell=lambda image: text_of(image["actor"]), wide=True),
            Column(header="REASON", cell=lambda image: text_of(image["reason"]), flexible=True),
        ),
    )


def draw(printer: Printer, image: Document) -> None:
    """Print everything about one image."""
    printer.pairs(_pairs(image))
    if image["replicas"]:
        printer.lines([""])
        printer.table(
            (
                Column(header="HOST", cell=lambda one: text_of(one["host_name"])),
                Column(header="REPLICA", cell=lambda one: state(one["state"])),
                Column(header="PINNED", cell=lambda one: "yes" if one["pinned"] else "-"),
                Column(header="REASON", cell=lambda one: text_of(one["reason"]), flexible=True),
            ),
            image["replicas"],
        )


def _pairs(image: Document) -> Pairs:
    pairs: list[tuple[str, Any]] = [
        ("name", text_of(image["name"])),
        ("id", text_of(image["id"])),
        ("digest", text_of(image["digest"])),
        ("state", state(image["state"])),
        ("format", text_of(image["format"])),
        ("size", _size(image["size_bytes"])),
        ("disk", _size(image["virtual_bytes"])),
        ("taken in", f"{moment(image['created_at'])} by {image['actor']}"),
        ("clones", _named(image["clones"])),
    ]
    if image.get("owner_sandbox_id"):
        pairs.append(("disk of", f"{_owner(image)} ({image['owner_sandbox_id']}), moved with it"))
    if image["state"] in ("RECEIVING", "FETCHING"):
        pairs.append(("received", _size(image["received_bytes"])))
    if image["source_vm"]:
        pairs.append(("made of", text_of(image["source_vm"])))
    elif image["source_volume"]:
        pairs.append(("read from", text_of(image["source_volume"])))
    if image["reason"]:
        pairs.append(("reason", text_of(image["reason"])))
    return pairs


def _size(size: int | None) -> str:
    return "-" if not size else short_size(-(-size // MIB))


def _owner(image: Document) -> str:
    return text_of(image.get("owner_sandbox_name") or image.get("owner_sandbox_id"))


def _held(image: Document) -> str:
    replicas = image["replicas"]
    ready = sum(1 for one in replicas if one["state"] == "ready")
    return str(ready) if ready == len(replicas) else f"{ready}/{len(replicas)}"


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids) if ids else "none"
