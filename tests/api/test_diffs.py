"""Diffs over HTTP: computed once from what was seen, anew for other noise, refused with reasons."""

from __future__ import annotations

from datetime import timedelta

import httpx2
import pytest

from scheduler.model import Command, Sandbox
from tests.service.planes import Plane
from tests.service.snapshots_taken import before_and_after, snapshot

PAIR = {"from": "before", "to": "after"}


@pytest.fixture
async def box(cloud: Plane) -> Sandbox:
    """A sandbox with two snapshots."""
    made = await cloud.create(sandbox_name="box")
    await before_and_after(cloud, made)
    return made


async def test_a_diff_is_computed_once(
    http: httpx2.AsyncClient, cloud: Plane, box: Sandbox
) -> None:
    ran = Command(
        id="CMD-1",
        sandbox_id=box.id,
        command="apt install hello",
        exit_code=0,
        started_at=cloud.clock.now() + timedelta(seconds=5),
        ended_at=cloud.clock.now() + timedelta(seconds=9),
    )
    await cloud.store.submit(lambda tx: tx.commands.add(ran))
    answer = await http.post("/v1/sandboxes/box/diffs", json=PAIR)
    diff = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/diffs/{diff['id']}"
    told = diff["diff_json"]
    assert told["files_modified"] == ["/etc/motd", "/srv/app.log"]
    assert told["files_added"] == ["/etc/new", "/etc/new/link"]
    assert told["files_removed"] == ["/etc/gone"]
    assert told["packages_added"] == [{"name": "hello", "version": "1"}]
    assert told["packages_changed"] == [
        {"name": "up", "before": "1", "after": "2", "others": False}
    ]
    assert told["services_changed"] == [{"name": "nginx", "enabled": True, "state": "started"}]
    assert [one["cmd"] for one in told["commands_run"]] == ["apt install hello"]
    assert diff["delta"]["ignored"] == [{"rule": "/etc/resolv.conf", "differences": 1}]
    again = await http.post("/v1/sandboxes/box/diffs", json=PAIR)
    assert again.json() == diff
    assert cloud.counts.diffs == [("computed", True), ("stored", False)]
    assert (await http.get(f"/v1/diffs/{diff['id']}")).json() == diff
    (listed,) = (await http.get("/v1/sandboxes/box/diffs")).json()["items"]
    assert listed == {**diff, "delta": None}


async def test_other_noise_computes_the_pair_anew(http: httpx2.AsyncClient, box: Sandbox) -> None:
    first = (await http.post("/v1/sandboxes/box/diffs", json=PAIR)).json()
    asked = {**PAIR, "noise": ["/srv/**/*.log", "/etc/new/**"]}
    other = (await http.post("/v1/sandboxes/box/diffs", json=asked)).json()
    assert other["id"] == first["id"]
    assert other["diff_json"]["files_modified"] == ["/etc/motd"]
    assert other["diff_json"]["files_added"] == ["/etc/new"]
    assert {"rule": "/srv/**/*.log", "differences": 1} in other["delta"]["ignored"]


async def test_changed_texts_are_shown(http: httpx2.AsyncClient, box: Sandbox) -> None:
    diff = (await http.post("/v1/sandboxes/box/diffs", json=PAIR)).json()
    texts = (await http.get(f"/v1/diffs/{diff['id']}/texts")).json()["items"]
    by_path = {one["path"]: one for one in texts}
    assert by_path["/etc/motd"]["text"].endswith(" one\n-two\n+\x1b[31m2")
    assert by_path["/etc/gone"]["reason"] == "its content was not kept"


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"from": "before"}, (422, "invalid")),
        ({"from": "before", "to": "nothing"}, (404, "not_found")),
        ({"from": "before", "to": "bare"}, (409, "conflict")),
        ({**PAIR, "noise": ["srv"]}, (422, "invalid")),
        ({**PAIR, "noise": ["/a**"]}, (422, "invalid")),
        ({**PAIR, "noise": ["/a"] * 65}, (422, "invalid")),
        ({**PAIR, "sound": []}, (422, "invalid")),
    ],
)
async def test_what_cannot_be_compared_is_refused(
    http: httpx2.AsyncClient, cloud: Plane, box: Sandbox, asked: object, refusal: tuple[int, str]
) -> None:
    await snapshot(cloud, box, "bare", None)
    answer = await http.post("/v1/sandboxes/box/diffs", json=asked)
    assert (answer.status_code, answer.json()["code"]) == refusal


async def test_a_manifest_that_is_gone_is_told(
    http: httpx2.AsyncClient, cloud: Plane, box: Sandbox
) -> None:
    taken = await cloud.store.read(lambda tx: tx.snapshots.by_name(box.id, "before"))
    ref = str(taken.manifest_ref)
    directory = cloud.store.config.sqlite_path
    assert directory is not None
    (directory.parent / "manifests" / ref[:2] / ref).unlink()
    answer = await http.post("/v1/sandboxes/box/diffs", json=PAIR)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "damaged" in answer.json()["detail"]
