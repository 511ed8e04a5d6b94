"""Images as series: by state, by host, and none by name."""

from __future__ import annotations

from scheduler.metrics.families import families
from scheduler.metrics.snapshot import MetricsSnapshot
from scheduler.model import ImageState, ReplicaState
from tests.metrics.reading import key, values
from tests.metrics.samples import NOW, host
from tests.store.samples import image, replica

FAILED = {"attempts": 2, "reason": "the pool is full"}


def test_images_and_replicas_are_told_by_state() -> None:
    snapshot = MetricsSnapshot(
        hosts=(host(), host(id="HST-2", name="beta")),
        images=(
            image("IMG-1", size_bytes=7),
            image("IMG-2", size_bytes=5),
            image("IMG-3", size_bytes=3, state=ImageState.REFUSED),
        ),
        replicas=(
            replica(image_id="IMG-1", host_id=host().id, state=ReplicaState.READY),
            replica(image_id="IMG-2", host_id=host().id, state=ReplicaState.READY),
            replica(image_id="IMG-2", host_id="HST-2", state=ReplicaState.COPYING, **FAILED),
        ),
    )
    series = values(families(snapshot, NOW))
    assert series[key("images", state="ready")] == 2
    assert series[key("image_bytes", state="ready")] == 12
    assert series[key("images", state="refused")] == 1
    assert series[key("images", state="receiving")] == 0
    there = {"host": "alpha", "state": "ready"}
    assert series[key("host_image_replicas", **there)] == 2
    assert series[key("host_image_replica_bytes", **there)] == 12
    assert series[key("host_image_replicas_failing", **there)] == 0
    on_its_way = {"host": "beta", "state": "copying"}
    assert series[key("host_image_replicas", **on_its_way)] == 1
    assert series[key("host_image_replicas_failing", **on_its_way)] == 1
    assert series[key("host_image_replicas", host="beta", state="ready")] == 0
