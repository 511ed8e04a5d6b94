"""The sections of the configuration: every setting with its default, its unit and its bounds."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from scheduler.config.quantities import Flag, Mebibytes, Period, Seconds, Whole
from scheduler.model import Overhead
from scheduler.validation.fields import (
    LEAST_MEMORY_MB,
    MOST_MEMORY_MB,
    MOST_STORAGE_MB,
    MOST_VCPUS,
    PATH,
    PATTERN_REMEDIES,
    USER,
    refusal,
)


def _path(value: object) -> Path:
    if not isinstance(value, str) or not re.fullmatch(PATH, value):
        raise refusal("this is no absolute path", PATTERN_REMEDIES[PATH])
    return Path(value)


def _group(name: str) -> str:
    if name and not re.fullmatch(USER, name):
        raise refusal("this is no name of a group", 'give a group, or "" for the daemon\'s own')
    return name


def _database_url(text: str) -> str:
    if (
        not text.startswith(("sqlite:///", "postgres://", "postgresql://"))
        or not text.isprintable()
    ):
        raise refusal(
            "this is no database URL",
            'give "sqlite:////absolute/path" or "postgres://user@host/name?sslmode=require"',
        )
    return text


def _not_read_only(wanted: bool) -> bool:
    if wanted:
        raise refusal(
            "a daemon writes what it does before it does it, so it cannot run on a store that only"
            " reads",
            "remove it, or set it to false",
        )
    return wanted


def _listen_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
        numbered = port.isascii() and port.isdigit() and 0 <= int(port) <= 65535
    except ValueError:
        numbered = False
    if not numbered:
        raise refusal(
            "this is no IP address and port",
            'give an address of this machine and a port, such as "127.0.0.1:9723" or "[::1]:9723"',
        )
    return text


AbsolutePath = Annotated[Path, BeforeValidator(_path)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
Vcpus = Annotated[Whole, Field(ge=1, le=MOST_VCPUS)]
MemoryMb = Annotated[Mebibytes, Field(ge=LEAST_MEMORY_MB, le=MOST_MEMORY_MB)]
StorageMb = Annotated[Mebibytes, Field(ge=1, le=MOST_STORAGE_MB)]
Attempts = Annotated[Whole, Field(ge=1, le=100)]
Connections = Annotated[Whole, Field(ge=1, le=1000)]


class Section(BaseModel):
    """Refuses settings it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DaemonSection(Section):
    """The process itself."""

    state_dir: AbsolutePath = Path("/var/lib/sandboxd")
    """Where database, keys and lock live."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    one_processor: Flag = True
    """Whether the daemon's own threads share one processor; programs it starts use all."""


class StoreSection(Section):
    """The database; the default is SQLite in the state directory."""

    database_url: Annotated[DatabaseUrl | None, Field(repr=False)] = None
    """May hold a password, and so is better given as a credential."""
    max_open_conns: Annotated[Whole, Field(ge=3, le=1000)] = 8
    max_idle_conns: Connections = 8
    conn_max_lifetime: Seconds = 3600
    auto_migrate: Flag = True
    read_only: Annotated[Flag, AfterValidator(_not_read_only)] = False
    """Only false: the store may be opened so, but no daemon runs on it."""


class ApiSection(Section):
    """The admin socket."""

    socket: AbsolutePath = Path("/run/sandboxd/admin.sock")
    group: Annotated[str, AfterValidator(_group)] = "sandboxd-admin"
    """The group that may use the socket; empty leaves it to the daemon's own."""


class MetricsSection(Section):
    """What Prometheus scrapes."""

    enabled: Flag = True
    listen: Annotated[str, AfterValidator(_listen_address)] = "127.0.0.1:9723"

    @property
    def address(self) -> tuple[str, int]:
        """Return the IP address and the port to listen on."""
        host, _, port = self.listen.rpartition(":")
        return host.removeprefix("[").removesuffix("]"), int(port)


class PlacementSection(Section):
    """How hosts are chosen and what one agent may hold."""

    policy: Literal["spread", "pack", "balanced"] = "spread"
    stale_after_seconds: Seconds = 60
    """Facts about a host older than this place nothing there."""
    retry_after_seconds: Seconds = 15
    """What a caller is told to wait when there is no room."""
    overhead_base_mb: Mebibytes = 128
    overhead_per_vcpu_mb: Mebibytes = 16
    overhead_memory_divisor: Annotated[Whole, Field(ge=1, le=1 << 20)] = 64
    """Every sandbox is charged base + vcpus x per vcpu + memory / divisor beside its own memory."""
    max_sandboxes_per_agent: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = None
    build_hosts: Annotated[Whole, Field(ge=1, le=100)] = 3
    """How many hosts may try to bring a sandbox up, one after the other, before it has failed."""
    breaker_failures: Attempts = 3
    """So many failed builds in a row keep a host from building."""
    breaker_window_seconds: Seconds = 600
    """Failures older than this do not count."""
    breaker_first_pause_seconds: Seconds = 60
    """How long the first time; doubled with each time in a row ..."""
    breaker_longest_pause_seconds: Seconds = 1800
    """... up to this."""

    @property
    def overhead(self) -> Overhead:
        """Return the memory charged for QEMU itself."""
        return Overhead(
            base_mb=self.overhead_base_mb,
            per_vcpu_mb=self.overhead_per_vcpu_mb,
            memory_divisor=self.overhead_memory_divisor,
        )


class LifecycleSection(Section):
    """How often hosts are looked at, how long things may take, how long sandboxes live."""

    poll_seconds: Period = 10.0
    build_attempts: Attempts = 3
    start_attempts: Attempts = 3
    provision_timeout_seconds: Annotated[Seconds, Field(ge=10, le=86400)] = 600
    shutdown_seconds: Seconds = 60
    """A guest that has not shut down after this long is powered off."""
    default_ttl_seconds: Seconds | None = None
    max_ttl_seconds: Seconds | None = None
    """When set, a sandbox without a limit is given this one and longer ones are refused."""
    stopped_retention_seconds: Seconds = 86400
    """How long a sandbox that its expiry stopped is kept."""
    max_snapshots_per_sandbox: Annotated[Whole, Field(ge=0, le=10)] = 8
    """More layers than that would not fit into a domain's mark."""

    @model_validator(mode="after")
    def _default_within_maximum(self) -> Self:
        most, default = self.max_ttl_seconds, self.default_ttl_seconds
        if most is not None and default is not None and default > most:
            raise refusal(
                "default_ttl_seconds is greater than max_ttl_seconds",
                "raise max_ttl_seconds or lower default_ttl_seconds",
            )
        return self


class RetentionSection(Section):
    """How long what is over is kept; what a live sandbox refers to always is."""

    events_seconds: Seconds = 2_592_000
    events_rows: Annotated[Whole, Field(ge=1000, le=1_000_000_000)] = 1_000_000
    """At most so many events, however young."""
    decisions_seconds: Seconds = 2_592_000
    """Refusals, and the decisions of sandboxes that are forgotten."""
    commands_seconds: Seconds = 2_592_000
    """Commands that have ended."""
    ssh_seconds: Seconds = 2_592_000
    """Certificates that have run out, and sessions that have ended."""
    tombstones_seconds: Seconds = 2_592_000
    """Destroyed sandboxes can be read for so long."""


class BackupsSection(Section):
    """The backups that the daemon makes every day of its database and keys, unless on a server."""

    directory: AbsolutePath | None = None
    """By default `backups` in the state directory."""
    keep: Annotated[Whole, Field(ge=0, le=1000)] = 7
    """So many, of as many days; 0 makes none."""


class ImagesSection(Section):
    """Golden images that the control node keeps, and their replicas in the hosts' pools."""

    max_size_mb: StorageMb = 65536
    """The largest file that is taken in."""
    max_virtual_mb: StorageMb = 1 << 20
    """The largest disk that an image may be for its guests."""
    replicas_limit_mb: Mebibytes = 204800
    """Beyond this much of one host's pool, replicas that nobody uses are removed, oldest use first;
    those that an operator asked for stay."""
    expected_mib_per_second: Annotated[Whole, Field(ge=1, le=100_000)] = 40
    """What a copy to a host is expected to take, until some were measured."""
    abandoned_seconds: Seconds = 86400
    """An upload that nobody went on with for this long is dropped, and so is word of a refusal."""


class GuestsSection(Section):
    """What a sandbox gets that asks for nothing, and the most that one may ask for."""

    default_vcpus: Vcpus = 2
    default_isolation: bool = False
    """Keep every guest apart from the others, unless its owner asks for the opposite."""
    default_memory_mb: MemoryMb = 2048
    default_storage_mb: StorageMb = 10240
    max_vcpus: Vcpus | None = None
    max_memory_mb: MemoryMb | None = None
    max_storage_mb: StorageMb | None = None
    console: Flag = True
    """Whether what a guest prints on its serial console while it boots is kept."""
    ssh_certificate_seconds: Annotated[Seconds, Field(ge=30, le=86400)] = 300
    """How long a certificate opens its sandbox for a new login."""

    @model_validator(mode="after")
    def _defaults_within_maxima(self) -> Self:
        for name in ("vcpus", "memory_mb", "storage_mb"):
            most, default = getattr(self, f"max_{name}"), getattr(self, f"default_{name}")
            if most is not None and default > most:
                raise refusal(
                    f"default_{name} is greater than max_{name}",
                    f"raise max_{name} or lower default_{name}",
                )
        return self


class CommandsSection(Section):
    """Commands in guests: how long they may take, how much of their output is kept, how many."""

    default_timeout_seconds: Seconds = 600
    max_timeout_seconds: Seconds = 86400
    """No command may ask for more."""
    output_bytes: Annotated[Whole, Field(ge=1024, le=64 << 20)] = 1 << 20
    """What is kept of each of its two streams, in memory while it runs."""
    input_mb: StorageMb = 4096
    """What one may be sent to its standard input; it is passed on and not kept."""
    per_sandbox: Annotated[Whole, Field(ge=1, le=16)] = 8
    """At once; a guest's sshd allows ten sessions on a connection unless it is told otherwise."""
    per_host: Annotated[Whole, Field(ge=1, le=1000)] = 32
    at_once: Annotated[Whole, Field(ge=1, le=10_000)] = 128
    """On all hosts together."""

    @model_validator(mode="after")
    def _default_within_maximum(self) -> Self:
        if self.default_timeout_seconds > self.max_timeout_seconds:
            raise refusal(
                "default_timeout_seconds is greater than max_timeout_seconds",
                "raise max_timeout_seconds or lower default_timeout_seconds",
            )
        return self
