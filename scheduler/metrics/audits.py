"""What the latest audit found, whoever asked for it, by the codes that there are."""

from __future__ import annotations

from collections import Counter

from prometheus_client import CollectorRegistry, Gauge

from scheduler.lifecycle.findings import FindingCode
from scheduler.lifecycle.orphans import OrphanCode
from scheduler.service.audits import AuditReport


class Audits:
    """The gauges of the latest one; those by code are there from the first one on."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._findings = Gauge(
            "sandboxd_audit_findings",
            "What the latest audit found that does not add up, orphans aside, by its code.",
            ["code"],
            registry=registry,
        )
        self._orphans = Gauge(
            "sandboxd_audit_orphans",
            "What the latest audit found on hosts that no record stands for, by its code.",
            ["code"],
            registry=registry,
        )
        self._unaudited = Gauge(
            "sandboxd_audit_unaudited_hosts",
            "Hosts that the latest audit could not judge.",
            registry=registry,
        )
        self._at = Gauge(
            "sandboxd_audit_timestamp_seconds",
            "When the latest audit was made; 0 before the first.",
            registry=registry,
        )

    def tell(self, report: AuditReport) -> None:
        """Record what an audit found, and how far it could see."""
        findings = Counter(finding.code for finding in report.findings)
        orphans = Counter(orphan.code for orphan in report.orphans)
        for finding in FindingCode:
            self._findings.labels(finding.value).set(findings[finding])
        for orphan in OrphanCode:
            self._orphans.labels(orphan.value).set(orphans[orphan])
        self._unaudited.set(sum(not host.audited for host in report.hosts))
        self._at.set(report.at.timestamp())
