"""Images as metric families: what the control node keeps, and how far the hosts have come.

Names of images are owners' words and without end, so there is no series for each of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric

from scheduler.metrics.snapshot import MetricsSnapshot
from scheduler.model import ImageState, Replica, ReplicaState

_REPLICAS: Mapping[str, str] = {
    "replicas": "Images that the host holds, or is to hold or to remove, by how far it has come.",
    "replica_bytes": "How large those are.",
    "replicas_failing": "Those of them whose last copy or removal failed; it is tried again.",
}


def image_families(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    """Yield the families about images."""
    yield from _kept(snapshot)
    sizes = {image.id: image.size_bytes for image in snapshot.images}
    replicas = snapshot.replicas
    yield _by_host(snapshot, "replicas", ((one, 1) for one in replicas))
    yield _by_host(
        snapshot, "replica_bytes", ((one, sizes.get(one.image_id, 0)) for one in replicas)
    )
    yield _by_host(snapshot, "replicas_failing", ((one, int(one.attempts > 0)) for one in replicas))


def _kept(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    images = GaugeMetricFamily(
        "sandboxd_images",
        "Images of the control node by state; refused ones failed the check.",
        labels=("state",),
    )
    sizes = GaugeMetricFamily(
        "sandboxd_image_bytes",
        "How large those images are: what was announced, or is there.",
        labels=("state",),
    )
    for state in ImageState:
        of_state = [image for image in snapshot.images if image.state is state]
        images.add_metric((state.lower(),), float(len(of_state)))
        sizes.add_metric((state.lower(),), float(sum(image.size_bytes for image in of_state)))
    yield images
    yield sizes


def _by_host(
    snapshot: MetricsSnapshot, name: str, counted: Iterable[tuple[Replica, int]]
) -> Metric:
    family = GaugeMetricFamily(
        f"sandboxd_host_image_{name}", _REPLICAS[name], labels=("host", "state")
    )
    totals: Counter[tuple[str, ReplicaState]] = Counter()
    for replica, number in counted:
        totals[replica.host_id, replica.state] += number
    for host in snapshot.hosts:
        for state in ReplicaState:
            family.add_metric((host.name, state.value), float(totals[host.id, state]))
    return family
