"""Explanations: every host against every constraint, and what would change the answer."""

from __future__ import annotations

from typing import Any

from scheduler.cli.printing import Printer
from scheduler.cli.tables import Cell, Column
from scheduler.cli.views.decisions import amount, facts, why
from scheduler.cli.views.states import text_of

Document = dict[str, Any]


def draw(printer: Printer, explanation: Document) -> None:
    """Print the outcome, then a row a host and a column a constraint; refusals are marked."""
    printer.pairs(facts(explanation))
    printer.lines([""])
    constraints = explanation["constraints"]
    needs = {
        "host_name": "(needed)",
        "have": [each["need"] for each in constraints],
        "refused": [],
        "message": None,
    }
    columns = [
        Column(header="HOST", cell=lambda host: text_of(host["host_name"])),
        Column(header="SCORE", cell=_score, right=True),
        *(_constraint(explanation, at) for at in range(len(constraints))),
        Column(header="WHY NOT", cell=why, flexible=True),
    ]
    printer.table(columns, [needs, *explanation["hosts"]])


def _constraint(explanation: Document, at: int) -> Column:
    name, need = (explanation["constraints"][at][key] for key in ("filter", "need"))

    def cell(host: Document) -> Cell:
        shown = amount(name, host["have"][at])
        return Cell(f"{shown} !", "bold red") if name in host["refused"] else Cell(shown)

    # What nobody asked for and nobody fails only fills the screen.
    matters = need is not None or any(name in host["refused"] for host in explanation["hosts"])
    return Column(header=name.upper().replace("_", " "), cell=cell, wide=not matters)


def _score(host: Document) -> str:
    score = host.get("score")
    return "-" if score is None else f"{score:.3f}"
