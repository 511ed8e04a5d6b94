"""What callers may ask for: the JSON bodies, checked whole and refused with every fault at once.

Hosts are described in `scheduler.validation`, since the configuration file has them too. A field
that is not listed is refused as unknown.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from scheduler.model import DrainPolicy, OnDeadline, OnExpire
from scheduler.validation.fields import (
    ImageName,
    Labels,
    MachineUuid,
    MemoryMb,
    Name,
    ObjectName,
    Owner,
    Reason,
    SshPublicKeys,
    StorageMb,
    TtlSeconds,
    Vcpus,
)


class _Request(BaseModel):
    """Refuses unknown fields and values of another JSON type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Wanted(_Request):
    """What placement looks at; unset sizes become the daemon's defaults."""

    base_image: ImageName
    vcpus: Vcpus | None = None
    memory_mb: MemoryMb | None = None
    storage_mb: StorageMb | None = None
    network: ObjectName | None = None
    host: Name | None = None
    """Place it on this host or nowhere."""
    host_selector: Labels = Field(default_factory=dict)
    anti_affinity_group: Owner | None = None
    """No two sandboxes of one group share a host."""


class CreateSandbox(Wanted):
    """A sandbox to be made; only the image and the agent are required."""

    agent_id: Owner
    job_id: Owner | None = None
    sandbox_name: Name | None = None
    ttl_seconds: TtlSeconds | None = None
    """Seconds it may live from the moment it is ready; null is no limit."""
    provision_timeout_seconds: Annotated[int, Field(ge=10, le=86400)] | None = None
    """Seconds it may take to come up; the daemon's default when unset."""
    labels: Labels = Field(default_factory=dict)
    auto_start: bool = True
    ssh_public_keys: SshPublicKeys = Field(default_factory=list)
    on_expire: Annotated[OnExpire, Field(strict=False)] = OnExpire.DESTROY
    ready: Literal["address"] = "address"


class ExtendLease(_Request):
    """A longer life: it ends `ttl_seconds` from now, or when it would have, if that is later."""

    ttl_seconds: TtlSeconds


class Because(_Request):
    """Why an operator does what they do; kept with the event."""

    reason: Reason = ""


class AcceptIdentity(_Request):
    """Which machine is to be taken for a host from now on."""

    host_uuid: MachineUuid
    """The UUID that the machine was refused with; see the host's `refused_host_uuid`."""


class DrainHost(Because):
    """How to empty a host."""

    policy: Annotated[DrainPolicy, Field(strict=False)] = DrainPolicy.DESTROY
    deadline_seconds: TtlSeconds | None = 3600
    """When patience ends; null waits for ever."""
    on_deadline: Annotated[OnDeadline, Field(strict=False)] = OnDeadline.DESTROY


class AdoptOrphan(Because):
    """How to take a domain over."""

    force: bool = False
    """Also beyond the limits of its host."""


class RebuildFleet(Because):
    """How to restore what a lost database knew."""

    force: bool = False
    """Also beyond the limits of the hosts."""


class ForgetSandbox(Because):
    """How to let a sandbox go of which nobody can prove that it is gone."""

    host: Name | None = None
    """Only what it holds on this host; null is everything it holds."""
    force: bool = False
    """Also while the host answers, where deleting would be the right thing."""
