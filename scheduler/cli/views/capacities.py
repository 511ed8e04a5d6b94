"""How much room there is: the sum, then a row a host with what ends first or keeps all out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scheduler.cli.moments import absolute
from scheduler.cli.printing import Printer
from scheduler.cli.quantities import share
from scheduler.cli.tables import Cell, Column
from scheduler.cli.views.decisions import wanted, why
from scheduler.cli.views.states import text_of

Document = dict[str, Any]


def draw(printer: Printer, capacity: Document) -> None:
    """Print how many fit, then host by host what is free of what there is."""
    printer.pairs(_facts(capacity))
    if capacity["hosts"]:
        printer.lines([""])
        printer.table(_COLUMNS, capacity["hosts"])


def _facts(capacity: Document) -> list[tuple[str, str | Cell]]:
    refusals = capacity.get("refusals") or {}
    counted = ", ".join(f"{name} {count}" for name, count in refusals.items() if count)
    facts: list[tuple[str, str | Cell]] = [
        ("fits", Cell(text_of(capacity["fits"]), "bold")),
        ("wanted", wanted(capacity["demand"])),
        ("at", absolute(capacity.get("at"))),
        ("without", text_of(capacity.get("without_hosts"))),
        ("refused first by", counted or "-"),
        ("would fit", text_of(capacity.get("smallest_change"))),
    ]
    return [fact for fact in facts if fact[1] != "-"]


def _free(name: str, form: Callable[[Any, Any], str]) -> Callable[[Document], str]:
    return lambda host: form(host["free"][name], host["limit"][name])


def _of(free: object, limit: object) -> str:
    return "-" if limit is None else f"{text_of(free)}/{text_of(limit)}"


_COLUMNS = (
    Column(header="HOST", cell=lambda host: text_of(host["host_name"])),
    Column(header="FITS", cell=lambda host: text_of(host["fits"]), right=True),
    Column(header="BOUND BY", cell=lambda host: text_of(host["bound_by"])),
    Column(header="FREE CPU", cell=_free("vcpus", _of), right=True),
    Column(header="FREE MEMORY", cell=_free("memory_mb", share), right=True),
    Column(header="FREE STORAGE", cell=_free("storage_mb", share), right=True),
    Column(header="FREE SANDBOXES", cell=_free("sandboxes", _of), right=True, wide=True),
    Column(header="WHY NOT", cell=why, flexible=True),
)
