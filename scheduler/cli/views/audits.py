"""What an audit and a rebuild tell: what does not add up, what is orphaned, what was not seen."""

from __future__ import annotations

from typing import Any

from scheduler.cli.printing import Printer, View
from scheduler.cli.tables import Cell, Column
from scheduler.cli.views.states import text_of

Document = dict[str, Any]

ORPHANS = View(
    reference=lambda orphan: str(orphan.get("domain_uuid") or orphan["name"]),
    columns=(
        Column(header="HOST", cell=lambda orphan: text_of(orphan["host_name"])),
        Column(header="KIND", cell=lambda orphan: text_of(orphan["kind"])),
        Column(header="NAME", cell=lambda orphan: text_of(orphan["name"])),
        Column(header="UUID", cell=lambda orphan: text_of(orphan.get("domain_uuid"))),
        Column(header="STATE", cell=lambda orphan: text_of(orphan.get("domain_state"))),
        Column(header="SANDBOX", cell=lambda orphan: text_of(orphan.get("sandbox_id")), wide=True),
        Column(header="WHY", cell=lambda orphan: text_of(orphan["code"])),
        Column(header="CAN", cell=lambda orphan: text_of(orphan.get("verbs"))),
        Column(header="REMEDY", cell=lambda orphan: text_of(orphan["remedy"]), flexible=True),
    ),
)

REBUILT = View(
    reference=lambda one: str(one["sandbox_id"]),
    columns=(
        Column(header="SANDBOX", cell=lambda one: text_of(one["domain_name"])),
        Column(header="ID", cell=lambda one: text_of(one["sandbox_id"])),
        Column(header="HOST", cell=lambda one: text_of(one["host_name"])),
        Column(header="DOMAIN", cell=lambda one: text_of(one["domain_state"])),
        Column(header="OUTCOME", cell=lambda one: _outcome(one)),
        Column(header="WHY", cell=lambda one: _why(one), flexible=True),
    ),
)

_FINDINGS = (
    Column(header="HOST", cell=lambda finding: text_of(finding["host_name"])),
    Column(header="FINDING", cell=lambda finding: text_of(finding["code"])),
    Column(header="SANDBOX", cell=lambda finding: text_of(finding.get("sandbox_id"))),
    Column(header="WHAT", cell=lambda finding: text_of(finding["message"]), flexible=True),
    Column(header="REMEDY", cell=lambda finding: text_of(finding["remedy"]), flexible=True),
)
_HOSTS = (
    Column(header="HOST", cell=lambda host: text_of(host["host_name"])),
    Column(header="AUDITED", cell=lambda host: _audited(host)),
    Column(header="AGE", cell=lambda host: _age(host), right=True),
    Column(header="DOMAINS", cell=lambda host: text_of(host["domains"]), right=True),
    Column(header="FOREIGN", cell=lambda host: text_of(host["foreign_domains"]), right=True),
    Column(header="UNMANAGED", cell=lambda host: _amounts(host["unmanaged"])),
    Column(header="REASON", cell=lambda host: text_of(host.get("reason")), flexible=True),
)


def draw(printer: Printer, report: Document) -> None:
    """Print an audit: findings, orphans, then how far each host could be judged."""
    for columns, documents in (
        (_FINDINGS, report["findings"]),
        (ORPHANS.columns, report["orphans"]),
        (_HOSTS, report["hosts"]),
    ):
        if documents:
            printer.table(columns, documents)
            printer.lines([""])
    printer.lines([summary(report)])


def draw_rebuilt(printer: Printer, report: Document) -> None:
    """Print what a rebuild did, or would do, and the hosts it could not see."""
    if report["sandboxes"]:
        printer.table(REBUILT.columns, report["sandboxes"])
    unseen = [host for host in report["hosts"] if not host["audited"]]
    if unseen:
        printer.lines([""])
        printer.table(_HOSTS, unseen)


def references(report: Document) -> list[str]:
    """Return what an audit found, as other commands know it."""
    found = [one.get("subject") or one.get("sandbox_id") for one in report["findings"]]
    found += [ORPHANS.reference(orphan) for orphan in report["orphans"]]
    return [str(one) for one in found if one]


def summary(report: Document) -> str:
    """Return the outcome of an audit in one line."""
    unseen = sum(1 for host in report["hosts"] if not host["audited"] or host.get("reason"))
    if report["clean"]:
        return f"clean: {len(report['hosts'])} hosts audited"
    counts = (
        (len(report["findings"]), "findings"),
        (len(report["orphans"]), "orphans"),
        (unseen, "hosts not wholly audited"),
    )
    return "not clean: " + ", ".join(f"{count} {what}" for count, what in counts if count)


def _audited(host: Document) -> Cell:
    if not host["audited"]:
        return Cell("no", "bold red")
    return Cell("in part", "yellow") if host.get("reason") else Cell("yes", "green")


def _age(host: Document) -> str:
    seconds = host.get("age_seconds")
    return "-" if seconds is None else f"{seconds:g}s"


def _amounts(amounts: Document) -> str:
    return f"{amounts['vcpus']} CPU, {amounts['memory_mb']} MiB, {amounts['storage_mb']} MiB disk"


def _outcome(one: Document) -> Cell:
    return Cell(str(one["outcome"]), "green" if one["outcome"] == "restored" else "bold red")


def _why(one: Document) -> str:
    remedy = one.get("remedy")
    return f"{one['message']}; {remedy}" if remedy else str(one["message"])
