"""Certificates and sessions: who may log in where, and who did."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from scheduler.cli.moments import age, moment
from scheduler.cli.printing import View
from scheduler.cli.tables import Column
from scheduler.cli.views.states import text_of

Document = dict[str, Any]


REVOKED = View(
    reference=lambda one: str(one["sandbox_id"]),
    columns=(
        Column(header="SANDBOX", cell=lambda one: text_of(one["sandbox_id"])),
        Column(header="CERTIFICATES", cell=lambda one: str(one["certificates"]), right=True),
        Column(header="SESSIONS", cell=lambda one: str(one["sessions"]), right=True),
    ),
)
"""What a revocation of every login to a sandbox ended."""


def certificates(now: datetime) -> View:
    """Return the view of certificates at a time."""
    return View(
        reference=lambda one: str(one["id"]),
        columns=(
            Column(header="ID", cell=lambda one: text_of(one["id"])),
            Column(header="SANDBOX", cell=lambda one: text_of(one["sandbox_id"])),
            Column(header="BY", cell=lambda one: text_of(one["actor"])),
            Column(header="AGE", cell=lambda one: age(one["created_at"], now), right=True),
            Column(header="UNTIL", cell=lambda one: f"{moment(one['valid_until'])}"),
            Column(header="REVOKED", cell=_revoked),
            Column(header="SERIAL", cell=lambda one: str(one["serial"]), wide=True),
            Column(header="KEY", cell=lambda one: text_of(one["key_fingerprint"]), wide=True),
            Column(header="AUTHORITY", cell=lambda one: text_of(one["authority"]), wide=True),
        ),
    )


def sessions(now: datetime) -> View:
    """Return the view of sessions at a time."""
    return View(
        reference=lambda one: str(one["id"]),
        columns=(
            Column(header="ID", cell=lambda one: text_of(one["id"])),
            Column(header="SANDBOX", cell=lambda one: text_of(one["sandbox_id"])),
            Column(header="BY", cell=lambda one: text_of(one["actor"])),
            Column(header="BEGAN", cell=lambda one: f"{moment(one['created_at'])}"),
            Column(header="AGE", cell=lambda one: age(one["created_at"], now), right=True),
            Column(header="ENDED", cell=_ended),
            Column(header="IN", cell=lambda one: str(one["bytes_in"]), right=True),
            Column(header="OUT", cell=lambda one: str(one["bytes_out"]), right=True),
            Column(
                header="CERTIFICATE", cell=lambda one: text_of(one["certificate_id"]), wide=True
            ),
        ),
    )


def _revoked(one: Document) -> str:
    if one["revoked_at"] is None:
        return "-"
    return f"{moment(one['revoked_at'])} by {one['revoked_by']}"


def _ended(one: Document) -> str:
    return "-" if one["ended_at"] is None else f"{moment(one['ended_at'])}, {one['end']}"
