"""A host as it is asked for, in the configuration file and over HTTP alike."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scheduler.validation.fields import (
    Address,
    Labels,
    Name,
    ObjectName,
    Path,
    Ratio,
    Uri,
    UserName,
    refusal,
)

MOST_MB = 1 << 40

ReservedMb = Annotated[int, Field(ge=0, le=MOST_MB)]


class HostFields(BaseModel):
    """What a host has beside its name, all optional; memory and storage in MiB."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    uri: Uri | None = None
    address: Address | None = None
    transport: Literal["unix", "ssh", "test"] = "unix"
    ssh_user: UserName | None = None
    ssh_port: Annotated[int, Field(ge=1, le=65535)] = 22
    ssh_key: Path | None = None
    ssh_known_hosts: Path | None = None
    labels: Labels = Field(default_factory=dict)
    pool: ObjectName = "default"
    network: ObjectName = "default"
    virt_type: Literal["auto", "kvm", "qemu"] = "auto"
    system_reserved_cpus: Annotated[int, Field(ge=0, le=65536)] = 0
    system_reserved_memory_mb: ReservedMb = 0
    system_reserved_storage_mb: ReservedMb = 0
    ratio_cpu: Ratio = 4.0
    ratio_memory: Ratio = 1.0
    ratio_storage: Ratio = 1.0
    max_sandboxes: Annotated[int, Field(ge=0, le=100_000)] | None = None
    max_concurrent_builds: Annotated[int, Field(ge=1, le=1000)] = 4


class EditHost(HostFields):
    """Changes to a host: only the fields that are given are changed."""


class AddHost(HostFields):
    """A host to be taken into the fleet."""

    name: Name

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        fault = unreachable(self.transport, self.address, self.uri)
        if fault is not None:
            raise refusal(*fault)
        return self


def unreachable(transport: str, address: str | None, uri: str | None) -> tuple[str, str] | None:
    """Return why a host cannot be reached by what is known of it, and the remedy."""
    simulated = (uri or "").startswith("test://")
    if transport == "ssh" and address is None:
        return "a host over ssh needs an address", "add the field address"
    if transport == "test" and not simulated:
        return "a simulated host needs a test URI", 'set uri to "test:///default"'
    if transport != "test" and simulated:
        return "a test URI is a simulated host", 'set transport to "test"'
    return None
