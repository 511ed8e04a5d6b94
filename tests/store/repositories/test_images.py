"""Images and replicas: what is unique, what is guarded, who was made from what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from scheduler.errors import AlreadyExists, Conflict, NotFound
from scheduler.model import Image, ImageState, Replica, ReplicaState, SandboxState
from scheduler.store import ImageFilter, ListOptions, Store, Transaction
from tests.store.samples import allocation, host, image, later, replica, sandbox

DIGEST = image().digest


async def test_an_image_is_found_by_digest_id_and_name(store: Store) -> None:
    one = image()
    await store.submit(lambda tx: tx.images.add(one))
    for reference in (one.id, one.name, str(one.digest)):
        found = await store.read(partial(_found, reference))
        assert found == one
    with pytest.raises(NotFound, match="no image other"):
        await store.read(lambda tx: tx.images.by_reference("other"))


async def test_who_has_a_content_comes_before_those_that_claim_it(store: Store) -> None:
    has = image("IMG-1")
    claims = image("IMG-2", state=ImageState.RECEIVING)
    others = (image("IMG-3", state=ImageState.REFUSED), image("IMG-4", digest="sha256:other"))
    await store.submit(lambda tx: [tx.images.add(one) for one in (has, claims, *others)])
    assert await store.read(lambda tx: tx.images.of_digest(str(DIGEST))) == (has, claims)


async def test_what_carried_a_sandbox_s_disk_is_found_by_that(store: Store) -> None:
    mine = [image(f"IMG-{n}", digest=f"sha256:{n}", owner_sandbox_id="SBX-1") for n in (1, 2)]
    others = [
        image("IMG-3", digest="sha256:3", owner_sandbox_id="SBX-2"),
        image("IMG-4", digest="sha256:4"),
    ]
    await store.submit(lambda tx: [tx.images.add(one) for one in (*mine, *others)])
    assert await store.read(lambda tx: tx.images.of_owner("SBX-1")) == tuple(mine)


async def test_names_are_unique_but_for_what_was_refused(store: Store) -> None:
    refused = image("IMG-1", state=ImageState.REFUSED)
    await store.submit(lambda tx: tx.images.add(refused))
    again = image("IMG-2", name=refused.name, state=ImageState.RECEIVING)
    await store.submit(lambda tx: tx.images.add(again))
    with pytest.raises(AlreadyExists):
        await store.submit(lambda tx: tx.images.add(image("IMG-3", name=refused.name)))
    assert await store.read(lambda tx: tx.images.by_reference(refused.name)) == again
    assert await store.read(lambda tx: tx.images.get("IMG-1")) == refused


async def test_only_one_usable_image_has_a_content(store: Store) -> None:
    first, second = image("IMG-1"), image("IMG-2", name="twin", state=ImageState.CHECKING)
    await store.submit(lambda tx: [tx.images.add(first), tx.images.add(second)])
    with pytest.raises(AlreadyExists):
        await store.submit(
            lambda tx: tx.images.replace(
                replace(second, state=ImageState.READY), expected=ImageState.CHECKING
            )
        )
    assert (await store.read(lambda tx: tx.images.get("IMG-2"))).state is ImageState.CHECKING


async def test_the_image_that_has_a_content_comes_before_what_claims_it(store: Store) -> None:
    ready = image("IMG-1", state=ImageState.READY)
    claims = [
        image("IMG-2", state=ImageState.RECEIVING, created_at=later(1)),
        image("IMG-3", state=ImageState.CHECKING, created_at=later(2)),
        image("IMG-4", state=ImageState.REFUSED, created_at=later(3)),
    ]
    for one in (ready, *claims):
        await store.submit(partial(_add, one))
    assert await store.read(partial(_found, str(DIGEST))) == ready
    await store.submit(lambda tx: tx.images.remove(ready.id))
    assert await store.read(partial(_found, str(DIGEST))) == claims[1]


async def test_i7_an_image_changes_only_from_the_state_that_was_read(store: Store) -> None:
    await store.submit(lambda tx: tx.images.add(image(state=ImageState.REMOVING)))
    with pytest.raises(Conflict, match="is REMOVING, not CHECKING"):
        await store.submit(lambda tx: tx.images.replace(image(), expected=ImageState.CHECKING))
    with pytest.raises(NotFound):
        await store.submit(lambda tx: tx.images.replace(image("IMG-9"), expected=ImageState.READY))


async def test_images_are_listed_newest_first_and_by_state(store: Store) -> None:
    await store.submit(
        lambda tx: [
            tx.images.add(image("IMG-1")),
            tx.images.add(image("IMG-2", state=ImageState.CHECKING, created_at=later(1))),
        ]
    )
    page = await store.read(lambda tx: tx.images.find())
    assert [one.id for one in page.items] == ["IMG-2", "IMG-1"]
    ready = ImageFilter(state=ImageState.READY)
    page = await store.read(lambda tx: tx.images.find(ready, ListOptions(limit=5)))
    assert [one.id for one in page.items] == ["IMG-1"]
    assert [one.id for one in await store.read(lambda tx: tx.images.all())] == ["IMG-1", "IMG-2"]


async def test_clones_are_the_live_sandboxes_made_from_a_content(store: Store) -> None:
    made = sandbox("SBX-1", image_digest=DIGEST)
    gone = sandbox("SBX-2", image_digest=DIGEST, state=SandboxState.DESTROYED, deleted_at=later(1))

    def write(tx: Transaction) -> None:
        tx.hosts.add(host())
        tx.hosts.add(host("HST-2"))
        for one in (made, gone, sandbox("SBX-3", image_digest="sha256:other")):
            tx.sandboxes.add(one)
        tx.allocations.record(allocation("SBX-1", "HST-2"))

    await store.submit(write)
    assert await store.read(lambda tx: tx.images.clones(str(DIGEST))) == (made,)
    assert await store.read(lambda tx: tx.images.clones(str(DIGEST), "HST-1")) == ()
    assert await store.read(lambda tx: tx.images.clones(str(DIGEST), "HST-2")) == (made,)


async def test_i7_a_replica_is_written_as_it_was_read(store: Store) -> None:
    first = replica()

    def write(tx: Transaction) -> None:
        tx.hosts.add(host())
        tx.images.add(image())
        tx.replicas.add(first)

    await store.submit(write)
    with pytest.raises(AlreadyExists):
        await store.submit(lambda tx: tx.replicas.add(replica()))
    ready = replace(first, state=ReplicaState.READY)
    written = await store.submit(lambda tx: tx.replicas.replace(ready))
    assert written.generation == first.generation + 1
    for late in (tx_replace(first), tx_remove(first)):
        with pytest.raises(Conflict, match="changed meanwhile"):
            await store.submit(late)
    assert await store.read(lambda tx: tx.replicas.get("IMG-1", "HST-1")) == written
    for of in ("of_image", "of_host"):
        key = "IMG-1" if of == "of_image" else "HST-1"
        assert await store.read(partial(_of, of, key)) == (written,)
    assert await store.read(lambda tx: tx.replicas.all()) == (written,)
    await store.submit(tx_remove(written))
    assert await store.read(lambda tx: tx.replicas.get("IMG-1", "HST-1")) is None
    await store.submit(lambda tx: tx.images.remove("IMG-1"))
    assert await store.read(lambda tx: tx.images.all()) == ()


def tx_replace(one: Replica) -> Callable[[Transaction], object]:
    return lambda tx: tx.replicas.replace(one)


def tx_remove(one: Replica) -> Callable[[Transaction], object]:
    return lambda tx: tx.replicas.remove(one)


def _add(one: Image, tx: Transaction) -> Image:
    return tx.images.add(one)


def _found(reference: str, tx: Transaction) -> Image:
    return tx.images.by_reference(reference)


def _of(method: str, key: str, tx: Transaction) -> tuple[Replica, ...]:
    found: tuple[Replica, ...] = getattr(tx.replicas, method)(key)
    return found
