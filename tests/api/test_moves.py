"""Moves over HTTP: asked for, tried first, refused with what to do, called off, waited for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import httpx2
import pytest

from scheduler.model import HostHealth, Image, Sandbox, SandboxState
from scheduler.store import Transaction
from tests.clocks import ManualClock
from tests.service.planes import Plane
from tests.service.snapshots_taken import before_and_after
from tests.store import samples
from tests.waits import until

BOX = "/v1/sandboxes/box"
MOVE = f"{BOX}/move"
UP = (SandboxState.STARTING, SandboxState.RUNNING)


@pytest.fixture
async def box(cloud: Plane) -> Sandbox:
    """A sandbox that is up on alpha, beside an empty host beta."""
    await cloud.add_host("beta")
    made = await cloud.create(sandbox_name="box", host="alpha", ttl_seconds=3600)
    return await cloud.become(made, *UP, address="192.0.2.7")


async def kinds(http: httpx2.AsyncClient, box: Sandbox) -> list[str]:
    """Return the kinds of a sandbox's events that tell of wishes for moves."""
    events = (await http.get("/v1/events", params={"sandbox_id": box.id})).json()["items"]
    return [one["kind"] for one in events if ".move_" in one["kind"]]


async def test_a_move_is_asked_for_told_and_called_off(
    http: httpx2.AsyncClient, cloud: Plane, box: Sandbox
) -> None:
    read = await http.get(BOX)
    asked = await http.post(MOVE, json={"to_host": "beta", "reason": "new fan"})
    wish = asked.json()
    assert (asked.status_code, asked.headers["etag"]) == (202, f'"{wish["revision"]}"')
    assert (wish["move_to"], wish["move_reason"]) == ("beta", "new fan")
    assert wish["move_asked_at"] is not None
    assert (wish["state"], wish["desired_state"], wish["host_name"]) == (
        "RUNNING",
        "RUNNING",
        "alpha",
    ), "nobody has done anything yet"
    assert asked.headers["etag"] != read.headers["etag"], "who read it may decide otherwise by now"
    again = await http.post(MOVE, json={"to_host": "beta", "reason": "another one"})
    assert (again.status_code, again.json()) == (202, wish), "wished already"
    assert (await http.get(BOX)).json() == wish
    assert cloud.woken[-1] == box.id
    off = await http.delete(MOVE)
    assert (off.status_code, off.json()["move_asked_at"]) == (202, None)
    assert (off.json()["move_to"], off.json()["move_reason"]) == (None, None)
    late = await http.delete(MOVE)
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    assert late.json()["remediation"]
    assert await kinds(http, box) == ["sandbox.move_requested", "sandbox.move_cancelled"]


async def test_a_body_is_not_needed(http: httpx2.AsyncClient, box: Sandbox) -> None:
    asked = (await http.post(MOVE)).json()
    assert asked["move_asked_at"] is not None
    assert (asked["move_to"], asked["move_reason"]) == (None, None)


async def test_a_dry_run_tells_where_to_and_changes_nothing(
    http: httpx2.AsyncClient, box: Sandbox
) -> None:
    read = (await http.get(BOX)).json()
    planned = await http.post(f"{MOVE}?dry_run=true")
    decision = planned.json()
    assert (planned.status_code, decision["host_name"]) == (200, "beta")
    assert (await http.get(f"/v1/decisions/{decision['id']}")).status_code == 404
    assert (await http.get(BOX)).json() == read
    assert await kinds(http, box) == []


async def test_what_cannot_be_moved_is_refused_with_what_to_do(
    http: httpx2.AsyncClient, cloud: Plane, box: Sandbox
) -> None:
    await cloud.create(sandbox_name="unborn", host="alpha")
    failed = await cloud.create(sandbox_name="failed", host="alpha")
    await cloud.become(failed, SandboxState.STARTING, SandboxState.ERROR)
    kept = await cloud.create(sandbox_name="kept", host="beta")
    kept = await cloud.become(kept, *UP)
    await before_and_after(cloud, kept)
    for name, body, said in (
        ("unborn", {}, "CREATED"),
        ("failed", {}, "failed"),
        ("kept", {}, "snapshots"),
        ("box", {"to_host": "alpha"}, "alpha"),
    ):
        for query in ("", "?dry_run=true"):
            answer = await http.post(f"/v1/sandboxes/{name}/move{query}", json=body)
            told = answer.json()
            assert (answer.status_code, told["code"]) == (409, "conflict"), name
            assert said in told["detail"], told
            assert told["remediation"], name
    assert await kinds(http, box) == []


async def test_another_wish_does_not_take_the_place_of_the_first(
    http: httpx2.AsyncClient, cloud: Plane, box: Sandbox
) -> None:
    await cloud.add_host("gamma")
    await http.post(MOVE, json={"to_host": "beta"})
    other = await http.post(MOVE, json={"to_host": "gamma"})
    assert other.status_code == 409
    assert "--cancel" in other.json()["remediation"]
    assert (await http.get(BOX)).json()["move_to"] == "beta"


async def test_a_silent_host_gives_nothing_away(
    http: httpx2.AsyncClient, cloud: Plane, box: Sandbox
) -> None:
    host = await cloud.services.hosts.get("alpha")
    await cloud.poll(host, health=HostHealth.DOWN)
    answer = await http.post(MOVE)
    assert answer.status_code == 409
    assert "host alpha, which is DOWN" in answer.json()["detail"]


async def test_no_room_elsewhere_is_told_before_any_guest_is_stopped(
    http: httpx2.AsyncClient, cloud: Plane, box: Sandbox
) -> None:
    for number in range(4):
        await cloud.create(sandbox_name=f"full-{number}", host="beta")
    read = (await http.get(BOX)).json()
    for query in ("", "?dry_run=true"):
        answer = await http.post(f"{MOVE}{query}")
        told = answer.json()
        assert (answer.status_code, told["code"]) == (507, "capacity_exhausted")
        assert {one["host_name"] for one in told["hosts"]} == {"alpha", "beta"}
    assert (await http.get(BOX)).json() == read


async def test_an_unknown_host_is_not_a_conflict(http: httpx2.AsyncClient, box: Sandbox) -> None:
    for query in ("", "?dry_run=true"):
        answer = await http.post(f"{MOVE}{query}", json={"to_host": "nowhere"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await http.get(BOX)).json()["move_asked_at"] is None


async def test_a_repeated_request_is_answered_as_it_was(
    http: httpx2.AsyncClient, box: Sandbox
) -> None:
    headers = {"idempotency-key": "k-1"}
    first = await http.post(MOVE, headers=headers)
    await http.delete(MOVE)
    again = await http.post(MOVE, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.text) == (202, first.text)
    assert (await http.get(BOX)).json()["move_asked_at"] is None, "it was carried out once"


async def test_waiting_ends_when_it_is_where_it_is_to_be(
    http: httpx2.AsyncClient, cloud: Plane, clock: ManualClock, box: Sandbox
) -> None:
    asked = asyncio.create_task(http.post(f"{MOVE}?wait=30s"))
    await until(lambda: cloud.journal.waiting > 0, what="the request waits")
    clock.advance(31)
    answer = await asked
    assert (answer.status_code, answer.json()["state"]) == (202, "RUNNING"), "not there yet"
    off = await http.delete(f"{MOVE}?wait=30s")
    assert (off.status_code, off.json()["state"]) == (200, "RUNNING"), "it is as it was"


async def test_the_end_goes_before_the_move(http: httpx2.AsyncClient, box: Sandbox) -> None:
    await http.post(MOVE)
    gone = (await http.delete(BOX)).json()
    assert (gone["desired_state"], gone["move_asked_at"]) == ("DESTROYED", None)
    answer = await http.post(MOVE)
    assert answer.status_code == 409


async def test_what_is_gone_with_its_host_is_told_as_gone(
    http: httpx2.AsyncClient, cloud: Plane, box: Sandbox
) -> None:
    await cloud.bury(box)
    await cloud.store.submit(lambda tx: tx.hosts.remove(box.host_id or ""))
    for query in ("", "?dry_run=true"):
        answer = await http.post(f"/v1/sandboxes/{box.id}/move{query}")
        told = answer.json()
        assert (answer.status_code, told["code"]) == (409, "conflict"), told
        assert "destroyed" in told["detail"]


async def test_an_image_tells_whose_disk_it_carries(
    http: httpx2.AsyncClient, cloud: Plane, box: Sandbox
) -> None:
    carried = {"web-move": box.id, "forgotten": "SBX-0", "golden": None}
    for number, (name, owner) in enumerate(carried.items()):
        image = replace(
            samples.image(f"IMG-{number}", name=name, digest=f"sha256:{number:064}"),
            owner_sandbox_id=owner,
        )
        await cloud.store.submit(partial(add_image, image))
    listed = (await http.get("/v1/images")).json()["items"]
    assert {
        one["name"]: (one["owner_sandbox_id"], one["owner_sandbox_name"]) for one in listed
    } == {
        "web-move": (box.id, "box"),
        "forgotten": ("SBX-0", None),
        "golden": (None, None),
    }
    assert (await http.get("/v1/images/web-move")).json()["owner_sandbox_name"] == "box"


def add_image(image: Image, tx: Transaction) -> None:
    """Record an image as a move leaves it."""
    tx.images.add(image)


async def test_a_drain_may_move_what_it_finds(
    http: httpx2.AsyncClient, cloud: Plane, box: Sandbox
) -> None:
    kept = await cloud.become(await cloud.create(sandbox_name="kept", host="alpha"), *UP)
    await before_and_after(cloud, kept)
    body = {"policy": "move", "on_deadline": "keep", "reason": "new fan"}
    planned: dict[str, Any] = (
        await http.post("/v1/hosts/alpha/drain?dry_run=true", json=body)
    ).json()
    verbs = {one["sandbox_name"]: one["verb"] for one in planned["actions"]}
    assert verbs["box"] == "move"
    assert (planned["policy"], planned["eta"]) == ("move", None)
    [blocker] = planned["blockers"]
    assert "kept" in blocker
    assert "snapshots" in blocker
    begun = await http.post("/v1/hosts/alpha/drain", json=body)
    assert (begun.status_code, begun.json()["policy"]) == (202, "move")
    assert (await http.get("/v1/hosts/alpha/drain")).json()["remaining"] == 2
