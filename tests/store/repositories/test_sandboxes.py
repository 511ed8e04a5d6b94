"""Sandboxes: names, tombstones, guarded changes with their events, leases and listings."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scheduler.errors import AlreadyExists, Conflict, Invalid, NotFound
from scheduler.lifecycle.transitions import ALLOWED
from scheduler.model import Condition, DesiredState, Phase, Sandbox, SandboxState
from scheduler.store import ListOptions, SandboxFilter, Store, Transaction
from tests.clocks import START, ManualClock
from tests.store.samples import allocation, host, later, sandbox

CREATED, STARTING, RUNNING = SandboxState.CREATED, SandboxState.STARTING, SandboxState.RUNNING
STOPPED, ERROR, DESTROYED = SandboxState.STOPPED, SandboxState.ERROR, SandboxState.DESTROYED


async def added(store: Store, *sandboxes: Sandbox) -> None:
    await store.submit(lambda tx: [tx.sandboxes.add(one) for one in sandboxes])


async def stored(store: Store, id: str = "SBX-1") -> Sandbox:
    return await store.read(lambda tx: tx.sandboxes.get(id))


async def moved(
    store: Store, old: SandboxState, new: SandboxState, id: str = "SBX-1", **changes: Any
) -> Sandbox:
    return await store.submit(lambda tx: tx.sandboxes.transition(id, old, new, at=START, **changes))


async def test_what_was_added_is_found_by_id_and_name(store: Store) -> None:
    await added(store, one := sandbox(labels={"team": "blue"}))
    assert await store.read(lambda tx: tx.sandboxes.get(one.id)) == one
    assert await store.read(lambda tx: tx.sandboxes.by_name(one.sandbox_name)) == one


async def test_what_was_never_added_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="no sandbox SBX-0"):
        await store.read(lambda tx: tx.sandboxes.get("SBX-0"))
    with pytest.raises(NotFound):
        await store.read(lambda tx: tx.sandboxes.by_name("nobody"))


async def test_a_name_is_unique_among_live_sandboxes(store: Store) -> None:
    await added(store, sandbox("SBX-1", sandbox_name="web"))
    with pytest.raises(AlreadyExists, match="sandbox with sandbox_name 'web'") as refused:
        await added(store, sandbox("SBX-2", sandbox_name="web"))
    assert refused.value.details["fields"] == ["sandbox_name"]


async def test_a_tombstone_frees_its_name_and_is_found_by_id_only(store: Store) -> None:
    await added(store, sandbox("SBX-1", sandbox_name="web"))
    buried = await store.submit(lambda tx: tx.sandboxes.bury("SBX-1", at=later(1)))
    assert (buried.state, buried.deleted_at, buried.revision) == (DESTROYED, later(1), 2)
    await added(store, sandbox("SBX-2", sandbox_name="web"))
    assert await stored(store) == buried
    assert (await store.read(lambda tx: tx.sandboxes.by_name("web"))).id == "SBX-2"
    assert await found(store) == ["SBX-2"]
    assert await found(store, SandboxFilter(include_deleted=True)) == ["SBX-2", "SBX-1"]
    assert await found(store, SandboxFilter(state=DESTROYED)) == ["SBX-1"]


async def found(
    store: Store, filter: SandboxFilter | None = None, options: ListOptions | None = None
) -> list[str]:
    page = await store.read(lambda tx: tx.sandboxes.find(filter, options))
    return [one.id for one in page.items]


async def test_burying_waits_for_the_release(store: Store) -> None:
    await store.submit(lambda tx: tx.hosts.add(host()))
    await added(store, sandbox())
    await store.submit(lambda tx: tx.allocations.claim(allocation()))
    with pytest.raises(Conflict, match="still holds an allocation on host HST-1"):
        await store.submit(lambda tx: tx.sandboxes.bury("SBX-1", at=START))
    await store.submit(
        lambda tx: (
            tx.allocations.release("SBX-1", "HST-1"),
            tx.sandboxes.bury("SBX-1", at=START),
        )
    )
    assert (await stored(store)).state is DESTROYED


async def test_i7_every_change_of_state_obeys_the_table(store: Store) -> None:
    for old in (CREATED, STARTING, RUNNING, STOPPED, ERROR):
        await added(store, before := sandbox(f"SBX-{old}", state=old))
        possible = {old, *ALLOWED[old]} - {DESTROYED}
        for new in set(SandboxState) - possible:
            with pytest.raises(Conflict):
                await moved(store, old, new, before.id)
            assert await stored(store, before.id) == before


async def test_i7_the_loser_of_a_race_gets_a_conflict(store: Store) -> None:
    await added(store, sandbox(state=RUNNING))

    async def go(new: SandboxState) -> Sandbox:
        return await moved(store, RUNNING, new)

    results = await asyncio.gather(*map(go, [STOPPED, ERROR, STARTING]), return_exceptions=True)
    assert [type(one) for one in results] == [Sandbox, Conflict, Conflict]
    assert (await stored(store)).state is STOPPED
    assert len(await store.read(lambda tx: tx.events.find())) == 1


async def test_i7_destroyed_is_terminal(store: Store) -> None:
    await added(store, sandbox())
    await store.submit(lambda tx: tx.sandboxes.bury("SBX-1", at=START))
    with pytest.raises(Conflict, match="DESTROYED cannot become"):
        await store.submit(lambda tx: tx.sandboxes.bury("SBX-1", at=START))
    for new in SandboxState:
        with pytest.raises(Conflict, match="DESTROYED cannot become"):
            await moved(store, DESTROYED, new)


async def test_a_transition_cannot_bury(store: Store) -> None:
    await added(store, sandbox())
    with pytest.raises(Conflict, match="can only be buried"):
        await moved(store, CREATED, DESTROYED)


async def test_a_transition_from_another_state_names_both(store: Store) -> None:
    await added(store, sandbox())
    with pytest.raises(Conflict, match="SBX-1 is CREATED, not ERROR or RUNNING"):
        await store.submit(
            lambda tx: tx.sandboxes.transition("SBX-1", {RUNNING, ERROR}, STARTING, at=START)
        )


async def test_a_transition_never_clears_an_address_unless_told(store: Store) -> None:
    await added(store, sandbox(state=RUNNING, ip_address="192.0.2.7", reason_code="ok"))
    kept = await store.submit(
        lambda tx: tx.sandboxes.transition("SBX-1", RUNNING, STOPPED, at=later(1))
    )
    assert (kept.ip_address, kept.reason_code) == ("192.0.2.7", "ok")
    told = await store.submit(
        lambda tx: tx.sandboxes.transition(
            "SBX-1", STOPPED, ERROR, at=later(2), ip_address=None, reason_message="gone"
        )
    )
    assert (told.ip_address, told.reason_code, told.reason_message) == (None, "ok", "gone")
    assert (told.generation, told.revision, told.updated_at) == (3, 3, later(2))
    assert await stored(store) == told


async def test_i13_a_change_of_state_and_its_event_are_one(store: Store) -> None:
    await added(store, sandbox(host_id="HST-1"))
    await store.submit(
        lambda tx: tx.sandboxes.transition(
            "SBX-1",
            CREATED,
            ERROR,
            at=later(3),
            actor="uid:7",
            reason_code="build_failed",
            reason_message="no such image",
            evidence={"attempt": 3},
        )
    )
    (event,) = await store.read(lambda tx: tx.events.find())
    assert (event.kind, event.actor, event.at) == ("sandbox.state", "uid:7", later(3))
    assert (event.sandbox_id, event.host_id) == ("SBX-1", "HST-1")
    assert (event.reason_code, event.message) == ("build_failed", "no such image")
    assert event.evidence == {"attempt": 3, "from": "CREATED", "to": "ERROR"}


async def test_i13_what_is_rolled_back_leaves_no_event(store: Store) -> None:
    await added(store, sandbox())

    def fails(tx: Transaction) -> None:
        tx.sandboxes.transition("SBX-1", CREATED, STARTING, at=START)
        raise Conflict("changed my mind")

    with pytest.raises(Conflict, match="changed my mind"):
        await store.submit(fails)
    assert await store.read(lambda tx: tx.events.find()) == ()
    assert (await stored(store)).state is CREATED


async def test_the_same_state_again_writes_fields_and_events_only_what_users_see(
    store: Store,
) -> None:
    await added(store, sandbox())
    paused = Condition(kind="paused", message="by a user", since=START)
    steps: list[dict[str, Any]] = [
        {"phase": Phase.BUILD, "attempts": 1},
        {"desired_state": DesiredState.STOPPED},
        {"expires_at": later(60)},
        {"conditions": (paused,)},
        {"reason_code": "waiting"},
        {"host_id": "HST-2"},
        {"reason_message": "for room"},
    ]
    revisions = [(await moved(store, CREATED, CREATED, **one)).revision for one in steps]
    assert revisions == [1, 2, 3, 3, 4, 5, 6]
    events = await store.read(lambda tx: tx.events.find())
    assert [event.kind for event in events] == [
        "sandbox.desired",
        "sandbox.lease",
        "sandbox.condition",
        "sandbox.reason",
        "sandbox.moved",
    ]
    assert events[2].evidence == {"from": [], "to": ["paused"]}


async def test_an_edit_grows_revision_and_leaves_the_state_alone(
    store: Store, clock: ManualClock
) -> None:
    await added(store, one := sandbox())
    clock.advance(5)
    edited = await store.submit(
        lambda tx: tx.sandboxes.replace(replace(one, labels={"a": "b"}), expected_generation=1)
    )
    assert (edited.generation, edited.revision, edited.updated_at) == (2, 2, later(5))
    with pytest.raises(Conflict, match="was changed meanwhile"):
        await store.submit(lambda tx: tx.sandboxes.replace(one, expected_generation=1))
    with pytest.raises(Invalid, match="an edit cannot make it RUNNING"):
        await store.submit(
            lambda tx: tx.sandboxes.replace(replace(edited, state=RUNNING), expected_generation=2)
        )
    with pytest.raises(NotFound):
        await store.submit(lambda tx: tx.sandboxes.replace(sandbox("SBX-9"), expected_generation=1))


async def test_leases_are_due_in_order_until_somebody_destroys(store: Store) -> None:
    await added(
        store,
        sandbox("SBX-1", expires_at=later(20)),
        sandbox("SBX-2", expires_at=later(10)),
        sandbox("SBX-3", expires_at=later(5), desired_state=DesiredState.DESTROYED),
        sandbox("SBX-4"),
        sandbox("SBX-5", expires_at=later(30)),
    )
    await store.submit(lambda tx: tx.sandboxes.bury("SBX-5", at=START))
    assert await store.read(lambda tx: tx.sandboxes.next_expiry(START)) == later(10)

    async def due(seconds: float, limit: int = 10) -> list[str]:
        now = later(seconds)
        return [one.id for one in await store.read(lambda tx: tx.sandboxes.due(now, limit))]

    assert await due(9.999999) == []
    assert await due(10) == ["SBX-2"]
    assert await due(99) == ["SBX-2", "SBX-1"]
    assert await due(99, 1) == ["SBX-2"]


async def test_without_leases_nothing_expires(store: Store) -> None:
    await added(store, sandbox())
    assert await store.read(lambda tx: tx.sandboxes.next_expiry(START)) is None


async def test_i10_a_stepped_clock_moves_every_live_lease(store: Store) -> None:
    await added(
        store,
        sandbox("SBX-1", expires_at=later(20)),
        sandbox("SBX-2"),
        sandbox("SBX-3", expires_at=later(30)),
    )
    await store.submit(lambda tx: tx.sandboxes.bury("SBX-3", at=START))
    step = timedelta(days=-1, microseconds=1)
    assert await store.submit(lambda tx: tx.sandboxes.shift_expiries(step)) == 1
    first, second, third = [await stored(store, id) for id in ("SBX-1", "SBX-2", "SBX-3")]
    assert (first.expires_at, first.generation, first.revision) == (later(20) + step, 2, 2)
    assert second.expires_at is None
    assert third.expires_at == later(30)


@pytest.mark.parametrize(
    ("state", "desired", "phase", "unsettled"),
    [
        (CREATED, DesiredState.RUNNING, None, True),
        (STARTING, DesiredState.RUNNING, None, True),
        (RUNNING, DesiredState.RUNNING, None, False),
        (RUNNING, DesiredState.RUNNING, Phase.START, True),
        (RUNNING, DesiredState.STOPPED, None, True),
        (STOPPED, DesiredState.STOPPED, None, False),
        (STOPPED, DesiredState.RUNNING, None, True),
        (ERROR, DesiredState.RUNNING, None, False),
        (ERROR, DesiredState.RUNNING, Phase.BUILD, True),
        (ERROR, DesiredState.STOPPED, None, True),
        (ERROR, DesiredState.DESTROYED, None, True),
    ],
)
async def test_unsettled_is_what_has_host_work_to_do(
    store: Store,
    state: SandboxState,
    desired: DesiredState,
    phase: Phase | None,
    unsettled: bool,
) -> None:
    await added(store, sandbox(state=state, desired_state=desired, phase=phase))
    assert bool(await store.read(lambda tx: tx.sandboxes.unsettled())) is unsettled


async def test_live_and_of_host_leave_tombstones_out(store: Store) -> None:
    await added(
        store,
        sandbox("SBX-1", host_id="HST-1", created_at=later(2)),
        sandbox("SBX-2", host_id="HST-1", created_at=later(1)),
        sandbox("SBX-3", host_id="HST-2"),
        sandbox("SBX-4", host_id="HST-1"),
    )
    await store.submit(lambda tx: tx.sandboxes.bury("SBX-4", at=START))
    live = await store.read(lambda tx: tx.sandboxes.live())
    assert [one.id for one in live] == ["SBX-3", "SBX-2", "SBX-1"]
    there = await store.read(lambda tx: tx.sandboxes.of_host("HST-1"))
    assert [one.id for one in there] == ["SBX-2", "SBX-1"]


async def test_of_what_is_placed_only_what_was_written_is_read_again(store: Store) -> None:
    await added(
        store,
        sandbox("SBX-1", host_id="HST-1", state=RUNNING),
        sandbox("SBX-2", host_id="HST-1", created_at=later(1)),
        sandbox("SBX-3", host_id="HST-1", created_at=later(2)),
    )
    known = (await store.read(lambda tx: tx.sandboxes.placed_on("HST-1"))).sandboxes
    await store.submit(lambda tx: tx.sandboxes.bury("SBX-2", at=START))
    await store.submit(
        lambda tx: tx.sandboxes.transition("SBX-1", RUNNING, RUNNING, at=START, ssh_ca="another")
    )
    now = (await store.read(lambda tx: tx.sandboxes.placed_on("HST-1", known))).sandboxes
    assert now == await store.read(lambda tx: tx.sandboxes.of_host("HST-1"))
    assert now[0].ssh_ca == "another"
    assert now[1] is known[2]


async def test_live_sandboxes_are_counted_by_host_and_state(store: Store) -> None:
    await added(
        store,
        sandbox("SBX-1", host_id="HST-1", state=RUNNING),
        sandbox("SBX-2", host_id="HST-1", state=RUNNING),
        sandbox("SBX-3", host_id="HST-1", state=ERROR),
        sandbox("SBX-4"),
        sandbox("SBX-5"),
    )
    await store.submit(lambda tx: tx.sandboxes.bury("SBX-5", at=START))
    assert await store.read(lambda tx: tx.sandboxes.counts()) == {
        ("HST-1", RUNNING): 2,
        ("HST-1", ERROR): 1,
        (None, CREATED): 1,
    }


@pytest.mark.parametrize(
    ("filter", "ids"),
    [
        (SandboxFilter(), ["SBX-3", "SBX-2", "SBX-1"]),
        (SandboxFilter(agent_id="b"), ["SBX-2"]),
        (SandboxFilter(job_id="j3"), ["SBX-3"]),
        (SandboxFilter(base_image="other"), ["SBX-1"]),
        (SandboxFilter(state=RUNNING), ["SBX-3", "SBX-1"]),
        (SandboxFilter(state=RUNNING, agent_id="b"), []),
        (SandboxFilter(vm_name="name-of-sbx-2"), ["SBX-2"]),
        (SandboxFilter(host_id="HST-1"), ["SBX-2"]),
        (SandboxFilter(id_prefix="SBX-2"), ["SBX-2"]),
        (SandboxFilter(id_prefix="SBX"), ["SBX-3", "SBX-2", "SBX-1"]),
        (SandboxFilter(id_prefix="SB%"), []),
        (SandboxFilter(desired_state=DesiredState.DESTROYED), ["SBX-2"]),
        (SandboxFilter(labels={"env": "ci"}), ["SBX-2", "SBX-1"]),
        (SandboxFilter(labels={"env": "ci", "odd": "x"}), []),
        (SandboxFilter(labels={'a"b.c$d%e': "q'u\"ote"}), ["SBX-3"]),
        (SandboxFilter(labels={"env": "CI"}), []),
    ],
)
async def test_find_filters(store: Store, filter: SandboxFilter, ids: list[str]) -> None:
    await added(
        store,
        sandbox("SBX-1", base_image="other", state=RUNNING, labels={"env": "ci"}),
        sandbox(
            "SBX-2",
            agent_id="b",
            host_id="HST-1",
            desired_state=DesiredState.DESTROYED,
            labels={"env": "ci", "x": "odd"},
        ),
        sandbox("SBX-3", job_id="j3", state=RUNNING, labels={'a"b.c$d%e': "q'u\"ote"}),
    )
    assert await found(store, filter) == ids


async def test_i11_a_filter_is_never_part_of_the_statement(store: Store) -> None:
    await added(store, sandbox())
    hostile = "x' OR '1'='1"
    assert await found(store, SandboxFilter(agent_id=hostile)) == []
    assert await found(store, SandboxFilter(labels={hostile: hostile})) == []
    with pytest.raises(Invalid):
        await found(store, SandboxFilter(labels={"x": "\ud800"}))
    with pytest.raises(Invalid, match="order_by must be one of"):
        await found(store, None, ListOptions(order_by="id; DROP TABLE sandboxes"))
