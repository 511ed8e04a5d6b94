"""Snapshots over HTTP: what is accepted and claimed, what is refused and why."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx2
import pytest

from scheduler.model import SandboxState, SnapshotState, Volume, VolumeRole, VolumeState
from tests.service.planes import Plane
from tests.waits import until


@pytest.fixture
async def path(cloud: Plane) -> str:
    """The path of the snapshots of a sandbox that runs."""
    sandbox = await cloud.create(sandbox_name="web", memory_mb=512, storage_mb=1024)
    await cloud.become(sandbox, SandboxState.STARTING, SandboxState.RUNNING)
    overlay = Volume(
        owner=sandbox.id,
        host_id=sandbox.host_id or "",
        pool="default",
        name=f"{sandbox.id.lower()}.qcow2",
        role=VolumeRole.OVERLAY,
        state=VolumeState.CREATED,
        created_at=sandbox.created_at,
    )
    await cloud.store.submit(lambda tx: tx.volumes.add(overlay))
    cloud.woken.clear()
    return f"/v1/sandboxes/{sandbox.id}/snapshots"


async def finish(cloud: Plane, snapshot_id: str, state: SnapshotState) -> None:
    """Record what the loop would have done."""
    snapshot = await cloud.store.read(lambda tx: tx.snapshots.get(snapshot_id))
    await cloud.store.submit(lambda tx: tx.snapshots.replace(replace(snapshot, state=state)))


async def test_a_snapshot_is_accepted_once_and_claims_its_room(
    http: httpx2.AsyncClient, cloud: Plane, path: str
) -> None:
    key = {"idempotency-key": "k1"}
    answer = await http.post(path, json={"name": "clean"}, headers=key)
    made = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{path}/clean"
    assert (made["state"], made["kind"], made["memory"], made["claim_mb"]) == (
        "CREATING",
        "INTERNAL",
        True,
        1536,
    )
    assert cloud.woken == [made["sandbox_id"]]
    again = await http.post(path, json={"name": "clean"}, headers=key)
    assert (again.status_code, again.json()) == (202, made)
    assert again.headers["location"] == f"{path}/clean"
    host = await cloud.store.read(lambda tx: tx.hosts.by_name("alpha"))
    assert host.reserved_storage_mb == 1024 + 1536
    assert cloud.fleet.record(host.id).reserved_storage_mb == host.reserved_storage_mb
    busy = await http.post(path, json={"name": "other"})
    assert (busy.status_code, busy.json()["snapshot"]) == (409, "clean")
    await finish(cloud, made["id"], SnapshotState.READY)
    settled = await http.get(f"{path}/clean", params={"wait": "1s"})
    assert settled.json()["state"] == "READY"
    by_name = await http.get("/v1/sandboxes/web/snapshots", params={"limit": 5})
    assert [one["name"] for one in by_name.json()["items"]] == ["clean"]


async def test_revert_and_delete_are_accepted_waited_for_and_tried_dry(
    http: httpx2.AsyncClient, cloud: Plane, path: str
) -> None:
    made = (await http.post(path, json={"name": "clean"})).json()
    await finish(cloud, made["id"], SnapshotState.READY)
    for method, where in (("POST", f"{path}/clean/revert"), ("DELETE", f"{path}/clean")):
        dry = await http.request(method, where, params={"dry_run": "true"})
        assert dry.status_code == 200, dry.json()
    assert (await http.get(f"{path}/clean")).json()["state"] == "READY"
    back = await http.post(f"{path}/clean/revert")
    assert (back.status_code, back.json()["state"]) == (202, "REVERTING")
    twice = await http.post(f"{path}/clean/revert")
    assert (twice.status_code, twice.json()["state"]) == (202, "REVERTING")
    refused = await http.delete(f"{path}/clean")
    assert refused.status_code == 409
    await finish(cloud, made["id"], SnapshotState.READY)
    gone = await http.delete(f"{path}/clean")
    assert (gone.status_code, gone.json()["state"]) == (202, "DELETING")
    await cloud.store.submit(lambda tx: tx.snapshots.remove(made["id"]))
    assert (await http.get(f"{path}/clean")).status_code == 404


async def test_waiting_for_an_end_answers_200_when_it_is_gone(
    http: httpx2.AsyncClient, cloud: Plane, path: str
) -> None:
    made = (await http.post(path, json={"name": "clean"})).json()
    await finish(cloud, made["id"], SnapshotState.READY)
    waiting = asyncio.create_task(http.delete(f"{path}/clean", params={"wait": "60s"}))
    await until(lambda: cloud.journal.waiting > 0)
    await cloud.store.submit(lambda tx: tx.snapshots.remove(made["id"]))
    await cloud.create(agent_id="somebody-else")
    gone = await waiting
    assert (gone.status_code, gone.json()["name"]) == (200, "clean")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "x", "kind": "EXTERNAL"}, 422, "constraint_impossible"),
        ({"name": "../x"}, 422, "invalid"),
        ({"name": ""}, 422, "invalid"),
        ({"name": "x", "kind": "SIDEWAYS"}, 422, "invalid"),
        ({"name": "x", "colour": "red"}, 422, "invalid"),
        ({}, 422, "invalid"),
    ],
)
async def test_what_is_refused(
    http: httpx2.AsyncClient, path: str, body: dict[str, object], status: int, code: str
) -> None:
    answer = await http.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["remediation"]


async def test_no_room_is_507_with_the_host_s_numbers(
    http: httpx2.AsyncClient, cloud: Plane, path: str
) -> None:
    host = await cloud.store.read(lambda tx: tx.hosts.by_name("alpha"))
    await cloud.poll(host, total_storage_mb=2000)
    answer = await http.post(path, json={"name": "big"})
    told = answer.json()
    assert (answer.status_code, told["code"]) == (507, "capacity_exhausted")
    assert (told["have"], told["need"]) == (976, 1536)
    assert answer.headers["retry-after"]
    dry = await http.post(path, json={"name": "big"}, params={"dry_run": "true"})
    assert dry.status_code == 507


async def test_a_dry_creation_answers_what_would_be(
    http: httpx2.AsyncClient, cloud: Plane, path: str
) -> None:
    dry = await http.post(path, json={"name": "maybe"}, params={"dry_run": "true"})
    assert (dry.status_code, dry.json()["state"]) == (200, "CREATING")
    assert (await http.get(path)).json()["items"] == []
    assert cloud.woken == []
