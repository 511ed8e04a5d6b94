"""Playbooks and tasks: revisions, positions, and a complete order or none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.errors import AlreadyExists, Invalid, NotFound, StaleRevision
from scheduler.store import ListOptions, Store, Transaction
from tests.store.samples import later, playbook, task


@pytest.fixture
async def shelf(store: Store) -> Store:
    """Two playbooks, the first with tasks at 0, 1 and 5."""

    def unit(tx: Transaction) -> None:
        tx.playbooks.add(playbook("PBK-1", name="web"))
        tx.playbooks.add(playbook("PBK-2", name="db", created_at=later(1)))
        for number, position in ((1, 5), (2, 0), (3, 1)):
            tx.playbook_tasks.add(task(f"TSK-{number}", position=position, name=f"n{number}"))

    await store.submit(unit)
    return store


async def ids(store: Store, options: ListOptions | None = None) -> list[str]:
    page = await store.read(lambda tx: tx.playbook_tasks.find("PBK-1", options))
    return [one.id for one in page.items]


async def test_playbooks_are_named_once_and_edited_against_a_revision(shelf: Store) -> None:
    with pytest.raises(AlreadyExists, match="playbook with name 'web'"):
        await shelf.submit(lambda tx: tx.playbooks.add(playbook("PBK-3", name="web")))
    web = await shelf.read(lambda tx: tx.playbooks.by_name("web"))
    wish = replace(web, become=True)
    edited = await shelf.submit(lambda tx: tx.playbooks.replace(wish, expected_revision=1))
    assert edited == replace(wish, revision=2)
    with pytest.raises(StaleRevision):
        await shelf.submit(lambda tx: tx.playbooks.replace(wish, expected_revision=1))
    with pytest.raises(AlreadyExists):
        await shelf.submit(
            lambda tx: tx.playbooks.replace(replace(edited, name="db"), expected_revision=2)
        )
    page = await shelf.read(lambda tx: tx.playbooks.find())
    assert [one.name for one in page.items] == ["db", "web"]


async def test_a_removed_playbook_takes_its_tasks_with_it(shelf: Store) -> None:
    await shelf.submit(lambda tx: tx.playbooks.remove("PBK-1"))
    assert await ids(shelf) == []
    for gone in (
        shelf.read(lambda tx: tx.playbooks.get("PBK-1")),
        shelf.submit(lambda tx: tx.playbooks.remove("PBK-1")),
        shelf.submit(lambda tx: tx.playbooks.replace(playbook(), expected_revision=1)),
        shelf.read(lambda tx: tx.playbook_tasks.get("TSK-1")),
    ):
        with pytest.raises(NotFound):
            await gone


async def test_tasks_come_by_position_and_each_is_held_once(shelf: Store) -> None:
    assert await ids(shelf) == ["TSK-2", "TSK-3", "TSK-1"]
    assert await ids(shelf, ListOptions(order_by="name", asc=False)) == ["TSK-3", "TSK-2", "TSK-1"]
    assert await shelf.read(lambda tx: tx.playbook_tasks.next_position("PBK-1")) == 6
    assert await shelf.read(lambda tx: tx.playbook_tasks.next_position("PBK-2")) == 0
    with pytest.raises(AlreadyExists):
        await shelf.submit(lambda tx: tx.playbook_tasks.add(task("TSK-4", position=5)))
    with pytest.raises(Invalid, match="position"):
        await shelf.submit(lambda tx: tx.playbook_tasks.add(task("TSK-4", position=-1)))
    with pytest.raises(Invalid):
        await shelf.submit(lambda tx: tx.playbook_tasks.add(task("TSK-4", playbook_id="PBK-9")))


async def test_a_task_is_replaced_and_removed(shelf: Store) -> None:
    wish = task("TSK-1", position=7, params={"name": ["nginx"]}, playbook_id="PBK-2")
    stored = await shelf.submit(lambda tx: tx.playbook_tasks.replace(wish))
    assert stored == replace(wish, playbook_id="PBK-1")
    with pytest.raises(AlreadyExists):
        await shelf.submit(lambda tx: tx.playbook_tasks.replace(task("TSK-1", position=0)))
    with pytest.raises(NotFound):
        await shelf.submit(lambda tx: tx.playbook_tasks.replace(task("TSK-9")))
    await shelf.submit(lambda tx: tx.playbook_tasks.remove("TSK-2"))
    assert await ids(shelf) == ["TSK-3", "TSK-1"]
    with pytest.raises(NotFound):
        await shelf.submit(lambda tx: tx.playbook_tasks.remove("TSK-2"))


async def test_a_complete_order_is_taken(shelf: Store) -> None:
    order = ["TSK-1", "TSK-3", "TSK-2"]
    ordered = await shelf.submit(lambda tx: tx.playbook_tasks.reorder("PBK-1", order))
    assert [(one.id, one.position) for one in ordered] == list(zip(order, range(3), strict=True))
    assert await ids(shelf) == order


@pytest.mark.parametrize(
    "order",
    [
        [],
        ["TSK-1"],
        ["TSK-1", "TSK-2", "TSK-2"],
        ["TSK-1", "TSK-2", "TSK-3", "TSK-3"],
        ["TSK-1", "TSK-2", "TSK-9"],
    ],
)
async def test_any_other_order_is_refused_whole(shelf: Store, order: list[str]) -> None:
    with pytest.raises(Invalid, match="each of the 3 tasks exactly once"):
        await shelf.submit(lambda tx: tx.playbook_tasks.reorder("PBK-1", order))
    assert await ids(shelf) == ["TSK-2", "TSK-3", "TSK-1"]
