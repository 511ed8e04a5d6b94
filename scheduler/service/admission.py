"""From a request to what is recorded: the demand, the sandbox, its claim and the decision.

Pure: nothing here waits or writes. Ids and the time are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from scheduler import ids
from scheduler.errors import Invalid
from scheduler.model import (
    Allocation,
    Decision,
    DesiredState,
    HostResources,
    Image,
    Resources,
    Sandbox,
    SandboxState,
)
from scheduler.placement.choice import Choice
from scheduler.placement.demand import Demand
from scheduler.placement.documents import decision_of
from scheduler.service.catalogue import Catalogue
from scheduler.service.requests import CreateSandbox, Wanted
from scheduler.service.terms import Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Everything one unit of work writes for a new sandbox."""

    sandbox: Sandbox
    claim: Allocation
    decision: Decision
    user_data: str | None = None


def demand_of(wanted: Wanted, terms: Terms, catalogue: Catalogue | None = None) -> Demand:
    """Return what placement has to find room for; the memory includes QEMU's overhead."""
    image = None if catalogue is None else catalogue.find(wanted.base_image)
    size = size_of(wanted, terms, image)
    return Demand(
        resources=Resources(
            vcpus=size.vcpus,
            memory_mb=size.memory_mb + terms.overhead.of(size.vcpus, size.memory_mb),
            storage_mb=size.storage_mb,
        ),
        image=wanted.base_image,
        network=wanted.network,
        host=wanted.host,
        selector=wanted.host_selector,
        anti_affinity_group=wanted.anti_affinity_group,
        image_digest=None if image is None else image.digest,
        image_mb=0 if image is None else image.size_mb,
        transfer_seconds=(
            0.0 if image is None or catalogue is None else catalogue.transfer_seconds(image)
        ),
    )


def size_of(wanted: Wanted, terms: Terms, image: Image | None = None) -> Resources:
    """Return what the guest itself is given: as asked for, else the daemon's defaults.

    A disk that nobody asked for is as large as its image needs. Raises `Invalid` beyond the most
    that one sandbox may have, and for a disk that is smaller than its image.
    """
    least = 0 if image is None else image.least_storage_mb
    if wanted.storage_mb is not None and wanted.storage_mb < least:
        raise Invalid(
            f"a disk of {wanted.storage_mb} MiB is smaller than image {wanted.base_image}, "
            f"which is a disk of {least} MiB",
            remedy=f"ask for at least {least} MiB of storage",
            details={"storage_mb": f"less than {least}"},
        )
    size = Resources(
        vcpus=wanted.vcpus or terms.default_vcpus,
        memory_mb=wanted.memory_mb or terms.default_memory_mb,
        storage_mb=wanted.storage_mb or max(terms.default_storage_mb, least),
    )
    asked = (
        ("vcpus", size.vcpus, terms.max_vcpus),
        ("memory_mb", size.memory_mb, terms.max_memory_mb),
        ("storage_mb", size.storage_mb, terms.max_storage_mb),
    )
    over = {name: most for name, wish, most in asked if most is not None and wish > most}
    if over:
        limits = ", ".join(f"{name} {limit}" for name, limit in over.items())
        raise Invalid(
            f"this daemon gives one sandbox at most {limits}",
            remedy="ask for less, or have the limit in the section guests raised",
            details={name: f"more than {limit}" for name, limit in over.items()},
        )
    return size


def ttl_of(request: CreateSandbox, terms: Terms) -> int | None:
    """Return the seconds the sandbox may live; raises `Invalid` beyond the daemon's maximum."""
    longest = terms.max_ttl_seconds
    ttl = request.ttl_seconds or terms.default_ttl_seconds or longest
    if ttl is not None and longest is not None and ttl > longest:
        raise Invalid(
            f"this daemon lets a sandbox live {longest} s at most",
            remedy=f"give ttl_seconds of at most {longest}, and extend it when needed",
            details={"ttl_seconds": f"more than {longest}"},
        )
    return ttl


def admit(
    request: CreateSandbox,
    terms: Terms,
    *,
    choice: Choice,
    host: HostResources,
    now: datetime,
) -> Admission:
    """Return the records of a sandbox that goes to `host`."""
    sandbox_id = ids.new_id(ids.Prefix.SANDBOX)
    decision = decision_of(
        choice, id=ids.new_id(ids.Prefix.DECISION), sandbox_id=sandbox_id, at=now
    )
    return Admission(
        sandbox=_sandbox(request, terms, host=host, choice=choice, decision=decision, now=now),
        claim=Allocation(
            sandbox_id=sandbox_id,
            host_id=host.id,
            pool=host.pool,
            vcpus=choice.demand.resources.vcpus,
            memory_mb=choice.demand.resources.memory_mb,
            storage_mb=choice.demand.resources.storage_mb,
            anti_affinity_group=choice.demand.anti_affinity_group,
            claimed_at=now,
        ),
        decision=decision,
        user_data=request.user_data,
    )


def _sandbox(
    request: CreateSandbox,
    terms: Terms,
    *,
    host: HostResources,
    choice: Choice,
    decision: Decision,
    now: datetime,
) -> Sandbox:
    sandbox_id = str(decision.sandbox_id)
    size = size_of(request, terms)
    domain = ids.domain_uuid(terms.cluster_id, sandbox_id)
    return Sandbox(
        id=sandbox_id,
        job_id=request.job_id or ids.new_id(ids.Prefix.JOB),
        agent_id=request.agent_id,
        sandbox_name=request.sandbox_name or sandbox_id.lower(),
        base_image=request.base_image,
        network=request.network or host.network,
        state=SandboxState.CREATED,
        ttl_seconds=ttl_of(request, terms),
        vcpus=size.vcpus,
        memory_mb=size.memory_mb,
        storage_mb=choice.demand.resources.storage_mb,
        host_name=host.name,
        host_address=host.address,
        created_at=now,
        updated_at=now,
        desired_state=DesiredState.RUNNING if request.auto_start else DesiredState.STOPPED,
        host_id=host.id,
        domain_uuid=str(domain),
        mac=ids.mac_address(domain),
        labels=request.labels,
        auto_start=request.auto_start,
        ssh_public_keys=tuple(request.ssh_public_keys),
        user_data_bytes=None if request.user_data is None else len(request.user_data.encode()),
        isolation=terms.default_isolation if request.isolation is None else request.isolation,
        on_expire=request.on_expire,
        ready=request.ready,
        source_vm=request.source_vm,
        remove_secrets=request.remove_secrets,
        image_digest=choice.demand.image_digest,
        provision_timeout_seconds=(
            request.provision_timeout_seconds or terms.default_provision_timeout_seconds
        ),
        reason_code="claimed",
        reason_message=f"placed on {host.name}, waiting to be built",
        decision_id=decision.id,
        queued_at=now,
    )
