"""Images as values: what they take of a pool, the least disk, the name of their replicas."""

from __future__ import annotations

import pytest

from scheduler.model import ImageState
from scheduler.model.images import replica_volume
from tests.store.samples import image

MIB = 2**20


@pytest.mark.parametrize(
    ("size", "virtual", "size_mb", "least"),
    [(MIB, MIB, 1, 1), (MIB + 1, 16 * MIB - 1, 2, 16), (1, None, 1, 0)],
)
def test_sizes_are_rounded_up_to_whole_mebibytes(
    size: int, virtual: int | None, size_mb: int, least: int
) -> None:
    one = image(size_bytes=size, virtual_bytes=virtual)
    assert (one.size_mb, one.least_storage_mb) == (size_mb, least)


@pytest.mark.parametrize("state", ImageState)
def test_only_a_ready_image_is_built_from(state: ImageState) -> None:
    assert image(state=state).usable is (state is ImageState.READY)


def test_a_replica_is_named_after_the_content() -> None:
    digest = "a" * 64
    assert replica_volume(f"sha256:{digest}") == f"image-{digest}"


@pytest.mark.parametrize("state", list(ImageState))
@pytest.mark.parametrize("judged", [False, True])
def test_a_digest_is_an_image_s_own_from_its_judgement_to_its_end(
    state: ImageState, judged: bool
) -> None:
    one = image(state=state, format="qcow2" if judged else None)
    owns = state in (ImageState.READY, ImageState.REMOVING)
    owns = owns or (judged and state is ImageState.CHECKING)
    assert one.own_digest == (one.digest if owns else None)
