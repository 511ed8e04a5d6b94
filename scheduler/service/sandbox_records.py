"""Writing a sandbox's record as it has become, in one guarded transition."""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.model import Sandbox
from scheduler.model.events import SYSTEM
from scheduler.store import Transaction


def put(
    tx: Transaction,
    before: Sandbox,
    after: Sandbox,
    *,
    actor: str = SYSTEM,
    evidence: Mapping[str, object] | None = None,
) -> Sandbox:
    """Write what has changed of a sandbox, unless it has moved on since `before` was read."""
    return tx.sandboxes.transition(
        before.id,
        before.state,
        after.state,
        at=after.updated_at,
        expected_generation=before.generation,
        actor=actor,
        evidence=evidence,
        host_id=after.host_id,
        host_name=after.host_name,
        host_address=after.host_address,
        network=after.network,
        decision_id=after.decision_id,
        failed_hosts=after.failed_hosts,
        ip_address=after.ip_address,
        ip_source=after.ip_source,
        ip_seen_at=after.ip_seen_at,
        ip_gateway=after.ip_gateway,
        reason_code=after.reason_code,
        reason_message=after.reason_message,
        conditions=after.conditions,
        desired_state=after.desired_state,
        phase=after.phase,
        phase_at=after.phase_at,
        attempts=after.attempts,
        retry_at=after.retry_at,
        queued_at=after.queued_at,
        running_at=after.running_at,
        expires_at=after.expires_at,
        base_fingerprint=after.base_fingerprint,
        ssh_ca=after.ssh_ca,
        ssh_seen_at=after.ssh_seen_at,
        base_image=after.base_image,
        image_digest=after.image_digest,
        move_asked_at=after.move_asked_at,
        move_to=after.move_to,
        move_reason=after.move_reason,
        move_drain_id=after.move_drain_id,
        moved_at=after.moved_at,
    )
