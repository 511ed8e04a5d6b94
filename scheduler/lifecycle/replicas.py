"""Which replicas of images are no longer worth their room: a plan, carried out elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

from scheduler.model import HostResources, HostState, Image, ImageState, Replica, ReplicaState

Place = tuple[str, str]
"""An image's id and a host's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surplus:
    """A replica that is to go, and why."""

    replica: Replica
    reason: str


def surplus(
    host: HostResources,
    replicas: Iterable[Replica],
    images: Mapping[str, Image],
    *,
    used: Set[Place],
    limit_mb: int,
) -> Iterator[Surplus]:
    """Yield the host's replicas that are to go: what a drained host keeps, then what is too much.

    `used` are the places of live sandboxes. What they need stays, and what an operator asked for;
    of the others those that were used longest ago go first, until the rest is within the limit.
    """
    kept_mb = 0
    spare: list[Replica] = []
    for replica in replicas:
        if replica.state is ReplicaState.REMOVING:
            continue
        size_mb = images[replica.image_id].size_mb
        in_use = (replica.image_id, replica.host_id) in used
        if host.state is HostState.DRAINED and not in_use:
            yield Surplus(replica=replica, reason=f"host {host.name} is drained")
            continue
        kept_mb += size_mb
        if replica.state is ReplicaState.READY and not in_use and not replica.pinned:
            spare.append(replica)
    for replica in sorted(spare, key=lambda one: (one.used_at, one.image_id)):
        if kept_mb <= limit_mb:
            return
        kept_mb -= images[replica.image_id].size_mb
        yield Surplus(replica=replica, reason=f"more than {limit_mb} MiB of replicas are there")


def abandoned(image: Image, idle_seconds: float, *, after_seconds: float) -> bool:
    """Return whether nobody will miss an image: an upload given up, or word of a refusal."""
    over = image.state in (ImageState.RECEIVING, ImageState.REFUSED)
    return over and idle_seconds > after_seconds
