"""Listings: sizes, orders, and cursors that stay whole and cannot be forged into a search."""

from __future__ import annotations

import base64
import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import bindparam, select, update

from scheduler.errors import Invalid, Unreadable
from scheduler.model import Sandbox
from scheduler.store import ListOptions, Page, SandboxFilter, Store, Transaction
from scheduler.store.repositories.sandbox_queries import ORDER
from scheduler.store.statements import Statement
from scheduler.store.tables import SANDBOXES
from tests.store.samples import later, sandbox

_DAMAGE = Statement(
    update(SANDBOXES.table).where(SANDBOXES.table.c.id == bindparam("box")).values(conditions="{"),
    "box",
)


def find(options: ListOptions, tx: Transaction) -> Page[Sandbox]:
    return tx.sandboxes.find(None, options)


async def ids(store: Store, options: ListOptions) -> list[str]:
    return [one.id for one in (await store.read(partial(find, options))).items]


@pytest.fixture
async def many(store: Store) -> Store:
    """105 sandboxes, three at each moment, so that equals need the id."""
    await store.submit(
        lambda tx: [
            tx.sandboxes.add(
                sandbox(f"SBX-{n:03}", created_at=later(n // 3), sandbox_name=f"n{n % 7}-{n}")
            )
            for n in range(105)
        ]
    )
    return store


@pytest.mark.parametrize(
    "given_options",
    [{"limit": -1}, {"offset": -1}, {"limit": 1001}, {"offset": 1, "cursor": "x"}],
)
def test_impossible_pages_are_refused(given_options: dict[str, int]) -> None:
    with pytest.raises(Invalid) as refused:
        ListOptions(**given_options)  # type: ignore[arg-type]
    assert next(iter(given_options)) in refused.value.details


async def test_a_page_has_a_default_size_and_offset_needs_no_limit(many: Store) -> None:
    assert len(await ids(many, ListOptions())) == 100
    assert len(await ids(many, ListOptions(limit=1000))) == 105
    assert await ids(many, ListOptions(offset=103)) == ["SBX-001", "SBX-000"]
    assert await ids(many, ListOptions(offset=500)) == []


@pytest.mark.parametrize("order_by", ["", "created_at", "updated_at", "sandbox_name"])
@pytest.mark.parametrize("asc", [True, False])
@pytest.mark.parametrize("limit", [1, 10, 52])
async def test_cursors_visit_everything_once_in_order(
    many: Store, order_by: str, asc: bool, limit: int
) -> None:
    whole = await ids(many, ListOptions(order_by=order_by, asc=asc, limit=1000))
    visited: list[str] = []
    cursor: str | None = None
    while True:
        options = ListOptions(order_by=order_by, asc=asc, limit=limit, cursor=cursor)
        page = await many.read(partial(find, options))
        visited += [one.id for one in page.items]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert visited == whole
    assert len(set(whole)) == 105


@pytest.mark.parametrize("limit", [1, 2, 10, 1000])
async def test_rows_that_cannot_be_read_shorten_their_pages_and_end_none(
    many: Store, limit: int
) -> None:
    """The first, the last and all three of one page among them."""
    bad = {"SBX-000", "SBX-050", "SBX-051", "SBX-052", "SBX-104"}

    def damage(tx: Transaction) -> None:
        for id in bad:
            tx.cursor.change(_DAMAGE, (id,))

    await many.submit(damage)
    visited: list[str] = []
    cursor: str | None = None
    while True:
        page = await many.read(partial(find, ListOptions(limit=limit, cursor=cursor)))
        assert len(page.items) <= limit
        visited += [one.id for one in page.items]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert visited == [one for n in reversed(range(105)) if (one := f"SBX-{n:03}") not in bad]
    found = await many.read(lambda tx: tx.unreadable())
    assert {error.key[0] for error in found} == bad
    last = ListOptions(offset=104)
    assert await ids(many, last) == [], "an offset counts all rows"
    with pytest.raises(Unreadable):
        await many.read(lambda tx: tx.sandboxes.find(SandboxFilter(id_prefix="SBX-05")))


@pytest.mark.parametrize(("count", "are"), [(0, True), (1, True), (105, True), (106, False)])
async def test_those_count_that_cannot_be_read(many: Store, count: int, are: bool) -> None:
    await many.submit(lambda tx: tx.cursor.change(_DAMAGE, ("SBX-000",)))
    assert await many.read(lambda tx: tx.sandboxes.are_as_many(SandboxFilter(), count)) is are


async def test_a_cursor_keeps_its_place_while_rows_come_and_go(many: Store) -> None:
    first = await many.read(partial(find, ListOptions(limit=10)))
    await many.submit(lambda tx: tx.sandboxes.add(sandbox("SBX-new", created_at=later(999))))
    await many.submit(lambda tx: tx.sandboxes.bury(first.items[-1].id, at=later(0)))
    rest = await ids(many, ListOptions(limit=1000, cursor=first.next_cursor))
    assert len(rest) == 95
    assert not set(rest) & {one.id for one in first.items}


async def test_a_cursor_belongs_to_its_order(many: Store) -> None:
    page = await many.read(partial(find, ListOptions(limit=1)))
    for options in (
        ListOptions(cursor=page.next_cursor, order_by="sandbox_name"),
        ListOptions(cursor=page.next_cursor, order_by="created_at", asc=True),
    ):
        with pytest.raises(Invalid, match="belongs to another order"):
            await ids(many, options)


def encoded(document: object) -> str:
    text = json.dumps(document).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "garbage",
        "%%%",
        "é",
        encoded([]),
        encoded({}),
        encoded(["created_at", False, "text", "SBX-1"]),
        encoded(["created_at", False, 1.5, "SBX-1"]),
        encoded(["created_at", False, True, "SBX-1"]),
        encoded(["created_at", False, 1 << 80, "SBX-1"]),
        encoded(["created_at", False, 1, 2]),
        encoded(["created_at", False, 1, "nul\0"]),
        encoded(["created_at", False, 1, ["SBX-1"]]),
        encoded("[" * 10),
        base64.b64encode(b"[" * 100_000).decode(),
    ],
)
async def test_i11_a_cursor_that_is_not_ours_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(Invalid, match="cursor"):
        await ids(store, ListOptions(cursor=cursor))


@given(cursor=st.text(max_size=60) | st.binary(max_size=60).map(lambda b: encoded(b.hex())))
def test_i11_no_cursor_whatever_does_anything_but_be_refused(cursor: str) -> None:
    sorting = ORDER.of(ListOptions())
    with pytest.raises(Invalid):
        sorting.page(select(SANDBOXES.table), ListOptions(cursor=cursor))
