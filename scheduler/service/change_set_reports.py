"""What is told of change sets: how far each has come, what judged it, what verified it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from scheduler.model import ChangeSet, ChangeSetState, Verification
from scheduler.store import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSetReport(ChangeSet):
    """A change set with its latest verification."""

    verification: Verification | None = None


def report_of(tx: Transaction, change_set: ChangeSet, *, brief: bool = False) -> ChangeSetReport:
    """Return a change set with all that is recorded about it; in brief without any log."""
    verification = tx.verifications.get(change_set.id)
    if brief:
        quiet = tuple(replace(check, output="") for check in change_set.checks)
        change_set = replace(change_set, checks=quiet)
        verification = None if verification is None else replace(verification, log="")
    given = {one.name: getattr(change_set, one.name) for one in fields(ChangeSet)}
    return ChangeSetReport(**given, verification=verification)


def settled(report: ChangeSetReport) -> bool:
    """Return whether nothing more happens to a change set by itself."""
    verification = report.verification
    made = report.state in (ChangeSetState.READY, ChangeSetState.FAILED)
    return made and (verification is None or verification.over)
