"""Placement decisions: who was chosen with which score, who refused, and what would help."""

from __future__ import annotations

from typing import Any

from scheduler.cli.failures import Refused
from scheduler.cli.printing import Pairs, Printer
from scheduler.cli.quantities import short_duration, short_size
from scheduler.cli.tables import Cell, Column
from scheduler.cli.views.states import state, text_of

Document = dict[str, Any]

_SIZES = frozenset({"memory", "storage"})


def amount(constraint: str, value: object) -> str:
    """Return what a host has, or a request needs, of one constraint."""
    if constraint in _SIZES and isinstance(value, int | float):
        return short_size(value)
    if constraint == "freshness" and isinstance(value, int | float):
        return short_duration(value)
    return text_of(value)


def why(refusal: Document) -> str:
    """Return a refusal's words without the host's name, which has a column of its own."""
    return text_of(refusal.get("message")).removeprefix(f"{refusal['host_name']}: ")


REFUSALS = (
    Column(header="HOST", cell=lambda refusal: text_of(refusal["host_name"])),
    Column(header="REFUSED BY", cell=lambda refusal: Cell(str(refusal["filter"]), "yellow")),
    Column(
        header="HAS", cell=lambda refusal: amount(refusal["filter"], refusal["have"]), wide=True
    ),
    Column(
        header="NEEDS", cell=lambda refusal: amount(refusal["filter"], refusal["need"]), wide=True
    ),
    Column(header="WHY", cell=why, flexible=True),
)

_CANDIDATES = (
    Column(header="CANDIDATE", cell=lambda candidate: text_of(candidate["host_name"])),
    Column(header="SCORE", cell=lambda candidate: f"{candidate['score']:.3f}", right=True),
    Column(
        header="", cell=lambda candidate: Cell("chosen" if candidate.get("first") else "", "green")
    ),
)


def draw(printer: Printer, decision: Document) -> None:
    """Print a decision: its facts, the candidates with scores, the refusals host by host."""
    printer.pairs(facts(decision))
    chosen = decision.get("chosen") or []
    if chosen:
        printer.lines([""])
        printer.table(_CANDIDATES, [{**found, "first": at == 0} for at, found in enumerate(chosen)])
    hosts = decision.get("hosts") or decision.get("nearest") or []
    if hosts:
        printer.lines([""])
        printer.table(REFUSALS, hosts)


def show_plan(printer: Printer, plan: Document) -> None:
    """Print a decision that would be taken: it has an id, but nothing is stored under it."""
    drawn = {**plan, "id": None}
    printer.drawing(plan, [str(plan["host_name"])], lambda drawing: draw(drawing, drawn))


def illustrate(refusal: Refused) -> None:
    """Give a refusal the table of the hosts that refused, where it names them."""
    if hosts := refusal.document.get("hosts"):
        refusal.table = REFUSALS, hosts


def wanted(demand: Document) -> str:
    """Return what was asked for as one phrase; the memory is as it is charged."""
    parts = [
        f"{demand.get('vcpus', '?')} vCPU",
        f"{short_size(demand.get('memory_mb') or 0)} memory with overhead",
        f"{short_size(demand.get('storage_mb') or 0)} storage",
    ]
    labelled = (
        ("image", "image"),
        ("network", "network"),
        ("host", "on host"),
        ("host_selector", "where"),
        ("anti_affinity_group", "apart from group"),
    )
    parts += [f"{words} {text_of(demand[key])}" for key, words in labelled if demand.get(key)]
    return ", ".join(parts)


def facts(decision: Document) -> Pairs:
    """Return what was decided as named fields."""
    refusals = decision.get("refusals") or {}
    counted = ", ".join(f"{name} {count}" for name, count in refusals.items() if count)
    facts: list[tuple[str, str | Cell]] = [
        ("outcome", state(decision["outcome"])),
        ("host", text_of(decision.get("host_name"))),
        ("policy", text_of(decision.get("policy"))),
        ("wanted", wanted(decision.get("demand") or {})),
        ("refused first by", counted or "nobody"),
        ("sandbox", text_of(decision.get("sandbox_id"))),
        ("decision", text_of(decision.get("id"))),
    ]
    if decision.get("smallest_change"):
        facts.append(("would fit", text_of(decision["smallest_change"])))
    return [fact for fact in facts if fact[1] != "-"]
