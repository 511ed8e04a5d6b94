"""What a sandbox asks of a fleet; memory already includes the hypervisor's overhead."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from scheduler.errors import Invalid
from scheduler.model import Resources

LARGEST_AMOUNT = 2**53
"""No host offers more, and every amount up to it is exact in the columns' integers and floats."""


ANY_IMAGE = ""
"""Of a question that is about no image: it may lie anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A request to be placed; everything that is None or empty is not asked for."""

    resources: Resources
    image: str
    network: str | None = None
    """None: the host's own default network."""
    pool: str | None = None
    """None: the host's own pool."""
    arch: str | None = None
    host: str | None = None
    """The only host acceptable, by name."""
    selector: Mapping[str, str] = field(default_factory=dict)
    """Labels that the host must carry with exactly these values."""
    anti_affinity_group: str | None = None
    """At most one sandbox of the group stands on a host."""
    image_digest: str | None = None
    """The content asked for, when the control node keeps it: any host can be given a copy."""
    image_mb: int = 0
    """What a copy takes of a pool, in MiB."""
    transfer_seconds: float = 0.0
    """How long a copy is expected to take."""
    tried: Collection[str] = ()
    """Names of hosts that hold something of this sandbox or could not bring it up."""

    def __post_init__(self) -> None:
        wanted = self.resources
        for name in ("vcpus", "memory_mb", "storage_mb"):
            amount = getattr(wanted, name)
            if not 0 <= amount <= LARGEST_AMOUNT:
                raise Invalid(
                    f"{name} is {amount}, not between 0 and {LARGEST_AMOUNT}",
                    remedy="Ask for an amount that a host may have.",
                    details={name: "out of range"},
                )
