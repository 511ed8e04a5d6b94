"""A host as it is asked for, in the configuration file and over HTTP alike."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import parse_qsl, urlsplit

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
    transport: Literal["unix", "ssh", "tls", "test"] = "unix"
    ssh_user: UserName | None = None
    ssh_port: Annotated[int, Field(ge=1, le=65535)] = 22
    ssh_key: Path | None = None
    ssh_known_hosts: Path | None = None
    labels: Labels = Field(default_factory=dict)
    pool: ObjectName = "default"
    network: ObjectName = "default"
    networks: Annotated[list[ObjectName], Field(max_length=32)] = Field(default_factory=list)
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
    if transport == "tls":
        return _unreachable_by_tls(address, uri)
    if urlsplit(uri or "").scheme.endswith("+tls"):
        return "a TLS URI is a host over TLS", 'set transport to "tls"'
    simulated = (uri or "").startswith("test://")
    if transport == "ssh" and address is None:
        return "a host over ssh needs an address", "add the field address"
    if transport == "test" and not simulated:
        return "a simulated host needs a test URI", 'set uri to "test:///default"'
    if transport != "test" and simulated:
        return "a test URI is a simulated host", 'set transport to "test"'
    return None


def _unreachable_by_tls(address: str | None, uri: str | None) -> tuple[str, str] | None:
    """Return what keeps a TLS host from being reached; its certificate is verified, always."""
    if address is None:
        return (
            "a host over TLS needs an address",
            "add the address that its certificate names",
        )
    if uri is None:
        return None
    parts = urlsplit(uri)
    if not parts.scheme.endswith("+tls"):
        return f"{uri} is not a TLS URI", f"leave uri out, or name qemu+tls://{address}/system"
    if (
        parts.hostname != address.lower()
        or parts.username is not None
        or not _is_port(parts.netloc)
    ):
        return (
            f"{uri} does not lead to {address}",
            f"name qemu+tls://{address}/system, with a port if it is not 16514",
        )
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name != "pkipath" or not value.startswith("/"):
            return (
                f"{uri} may say pkipath=/DIR only, not {name}={value}",
                "drop it: certificates are always verified, only their place can be said",
            )
    return None


def _is_port(netloc: str) -> bool:
    """Return whether what follows an address is no port at all, or a port."""
    port = netloc.rpartition(":")[2] if ":" in netloc else "1"
    return port.isdecimal() and 0 < int(port) < 65536
