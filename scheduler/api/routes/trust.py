"""/v1/audit, /v1/orphans, /v1/rebuild, /v1/doctor, forgetting: is all as it should be, and amends.

Each answer that depends on what the hosts hold says how old its picture of them is; with `wait`
fresh looks are awaited first, for at most so long.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request
from starlette.responses import Response

from scheduler.api import answers
from scheduler.api.answers import Form, Listing
from scheduler.api.callers import once
from scheduler.api.queries import DryRun, HostName, Reference, Wait, wait_seconds
from scheduler.api.routing import Operation, Row, table
from scheduler.lifecycle.findings import Orphan
from scheduler.model import Sandbox
from scheduler.service.audits import AuditReport, HealReport
from scheduler.service.doctor import DoctorReport
from scheduler.service.forgetting import Forgetting
from scheduler.service.rebuilds import RebuildReport
from scheduler.service.requests import AdoptOrphan, Because, ForgetSandbox, RebuildFleet
from scheduler.service.services import Services

_AUDIT: Form[AuditReport] = Form(AuditReport)
_HEALED: Form[HealReport] = Form(HealReport)
_ORPHANS: Form[Listing[Orphan]] = Form(Listing[Orphan])
_REBUILT: Form[RebuildReport] = Form(RebuildReport)
_DOCTOR: Form[DoctorReport] = Form(DoctorReport)
_FORGETTING: Form[Forgetting] = Form(Forgetting)

_ORPHAN = "/v1/orphans/{name}/{uuid}"

DomainUuid = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        description="The domain's UUID, in lower case.",
    ),
]


class TrustRoutes:
    """What makes a fleet trustworthy."""

    def __init__(self, services: Services) -> None:
        self._audits = services.audits
        self._orphans = services.orphans
        self._rebuilds = services.rebuilds
        self._forgetting = services.forgetting
        self._doctor = services.doctor
        self._kept = services.kept_answers

    def operations(self) -> tuple[Operation, ...]:
        """Return the table."""
        rows: tuple[Row, ...] = (
            ("GET", "/v1/audit", self.audit, AuditReport, 200),
            ("POST", "/v1/audit/heal", self.heal, HealReport, 200),
            ("GET", "/v1/doctor", self.doctor, DoctorReport, 200),
            ("GET", "/v1/orphans", self.find, Listing[Orphan], 200),
            ("POST", f"{_ORPHAN}/adopt", self.adopt, Sandbox, 202),
            ("POST", f"{_ORPHAN}/reap", self.reap, Sandbox, 202),
            ("POST", "/v1/rebuild", self.rebuild, RebuildReport, 200),
            ("POST", "/v1/sandboxes/{reference}/forget", self.forget, Sandbox | Forgetting, 200),
        )
        return table(rows)

    async def audit(self, wait: Wait = None) -> Response:
        """Compare records and hosts, and tell what does not add up; nothing is changed."""
        return _AUDIT.respond(await self._audits.audit(_seconds(wait)))

    async def heal(self, request: Request, wait: Wait = None) -> Response:
        """Mend what is beyond doubt: counters, and what destroyed sandboxes left on hosts."""
        return await once(
            request,
            self._kept,
            _HEALED,
            lambda intent: self._audits.heal(_seconds(wait), intent),
        )

    async def doctor(self) -> Response:
        """Tell what is wrong with each host and with the control node, and what mends it."""
        return _DOCTOR.respond(await self._doctor.examine())

    async def find(self, wait: Wait = None) -> Response:
        """List what is like ours on the hosts and has nothing live behind it."""
        return _ORPHANS.respond(Listing(items=await self._orphans.find(_seconds(wait))))

    async def adopt(
        self,
        request: Request,
        name: HostName,
        uuid: DomainUuid,
        body: AdoptOrphan | None = None,
        wait: Wait = None,
    ) -> Response:
        """Take a marked domain over as the sandbox that its mark says it is."""
        return await once(
            request,
            self._kept,
            answers.SANDBOX_ACCEPTED,
            lambda intent: self._orphans.adopt(
                name, uuid, body or AdoptOrphan(), intent, seconds=_seconds(wait)
            ),
        )

    async def reap(
        self,
        request: Request,
        name: HostName,
        uuid: DomainUuid,
        body: Because | None = None,
        wait: Wait = None,
    ) -> Response:
        """Have a marked domain without a live record destroyed, with its volumes."""
        return await once(
            request,
            self._kept,
            answers.SANDBOX_ACCEPTED,
            lambda intent: self._orphans.reap(
                name, uuid, body or Because(), intent, seconds=_seconds(wait)
            ),
        )

    async def rebuild(
        self,
        request: Request,
        body: RebuildFleet | None = None,
        wait: Wait = None,
        dry_run: DryRun = False,
    ) -> Response:
        """Restore the records of every marked domain that has none, as after a lost database."""
        wanted = body or RebuildFleet()
        if dry_run:
            return _REBUILT.respond(await self._rebuilds.preview(wanted, _seconds(wait)))
        return await once(
            request,
            self._kept,
            _REBUILT,
            lambda intent: self._rebuilds.rebuild(wanted, intent, seconds=_seconds(wait)),
        )

    async def forget(
        self,
        request: Request,
        reference: Reference,
        body: ForgetSandbox | None = None,
        dry_run: DryRun = False,
    ) -> Response:
        """Release a sandbox without proof that it is gone; `dry_run` tells what may be left."""
        wanted = body or ForgetSandbox()
        if dry_run:
            return _FORGETTING.respond(await self._forgetting.preview(reference, wanted))
        return await once(
            request,
            self._kept,
            answers.SANDBOX,
            lambda intent: self._forgetting.forget(reference, wanted, intent),
        )


def _seconds(wait: str | None) -> float:
    return wait_seconds(wait) or 0.0
