"""Hosts and drains over HTTP."""

from __future__ import annotations

from typing import Any

import httpx2

from tests.service.planes import Plane

BETA: dict[str, Any] = {
    "name": "beta",
    "transport": "ssh",
    "address": "beta.example.org",
    "ssh_user": "sandboxd",
    "labels": {"zone": "b"},
}


async def test_a_host_is_added_shown_and_listed(http: httpx2.AsyncClient) -> None:
    added = await http.post("/v1/hosts", json=BETA)

    host = added.json()
    assert (added.status_code, added.headers["location"]) == (201, "/v1/hosts/beta")
    assert (host["state"], host["health"], host["ratio_cpu"]) == ("ACTIVE", "UNKNOWN", 4.0)
    assert (await http.get("/v1/hosts/beta")).json() == host
    listed = (await http.get("/v1/hosts?order_by=name")).json()["items"]
    assert [item["name"] for item in listed] == ["alpha", "beta"]
    labelled = (await http.get("/v1/hosts?label=zone=b")).json()["items"]
    assert [item["name"] for item in labelled] == ["beta"]
    again = await http.post("/v1/hosts", json=BETA)
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")


async def test_adding_may_be_tried_first(http: httpx2.AsyncClient) -> None:
    tried = await http.post("/v1/hosts?dry_run=true", json=BETA)
    taken = await http.post("/v1/hosts?dry_run=true", json={**BETA, "name": "alpha"})

    assert (tried.status_code, tried.json()["name"]) == (200, "beta")
    assert taken.status_code == 409
    assert (await http.get("/v1/hosts/beta")).status_code == 404


async def test_an_edit_is_guarded_by_its_revision(http: httpx2.AsyncClient) -> None:
    read = await http.get("/v1/hosts/alpha")
    match = {"if-match": read.headers["etag"]}
    first = await http.patch("/v1/hosts/alpha", json={"ratio_cpu": 2.0}, headers=match)
    second = await http.patch("/v1/hosts/alpha", json={"ratio_cpu": 3.0}, headers=match)

    assert (first.status_code, first.json()["limit_cpus"]) == (200, 16)
    assert (second.status_code, second.json()["code"]) == (412, "stale_revision")
    assert (await http.get("/v1/hosts/alpha")).json()["ratio_cpu"] == 2.0
    for given in ("*", first.headers["etag"]):
        answer = await http.patch(
            "/v1/hosts/alpha", json={"ratio_cpu": 2.0}, headers={"if-match": given}
        )
        assert answer.status_code == 200, given
    for given in ('W/"1"', "1", '"x"', '"1", "2"'):
        answer = await http.patch(
            "/v1/hosts/alpha", json={"ratio_cpu": 4.0}, headers={"if-match": given}
        )
        assert answer.status_code == 412, given


async def test_a_cordoned_host_is_told_why(http: httpx2.AsyncClient) -> None:
    cordoned = await http.post("/v1/hosts/alpha/cordon", json={"reason": "new disk"})
    again = await http.post("/v1/hosts/alpha/cordon")
    back = await http.post("/v1/hosts/alpha/uncordon", json={})

    assert (cordoned.json()["state"], cordoned.json()["state_reason"]) == ("CORDONED", "new disk")
    assert again.json() == cordoned.json()
    assert back.json()["state"] == "ACTIVE"


async def test_a_host_in_use_is_not_removed(http: httpx2.AsyncClient, cloud: Plane) -> None:
    made = await cloud.create()
    refused = await http.delete("/v1/hosts/alpha")
    tried = await http.delete("/v1/hosts/alpha?dry_run=true")
    await cloud.bury(made)
    removed = await http.delete("/v1/hosts/alpha")

    assert (refused.status_code, refused.json()["sandboxes"]) == (409, [made.id])
    assert tried.status_code == 409
    assert removed.status_code == 200
    assert (await http.get("/v1/hosts/alpha")).status_code == 404
    assert (await http.delete("/v1/hosts/alpha")).status_code == 404


async def test_a_drain_is_planned_begun_and_called_off(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    made = await cloud.create(sandbox_name="box")
    plan = await http.post("/v1/hosts/alpha/drain?dry_run=true", json={"policy": "destroy"})
    nothing = await http.get("/v1/hosts/alpha/drain")
    begun = await http.post("/v1/hosts/alpha/drain", json={"reason": "repair"})
    same = await http.post("/v1/hosts/alpha/drain", json={})
    other = await http.post("/v1/hosts/alpha/drain", json={"policy": "expire"})
    refused = await http.post("/v1/sandboxes", json={"base_image": "x", "agent_id": "a"})
    aborted = await http.post("/v1/hosts/alpha/drain/abort")
    again = await http.post("/v1/hosts/alpha/drain/abort")

    assert [action["sandbox_id"] for action in plan.json()["actions"]] == [made.id]
    assert plan.json()["actions"][0]["verb"] == "destroy"
    assert nothing.status_code == 404
    assert (begun.status_code, begun.json()["state"], begun.json()["remaining"]) == (
        202,
        "ACTIVE",
        1,
    )
    assert begun.json()["host_state"] == "DRAINING"
    assert same.json()["id"] == begun.json()["id"]
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert refused.status_code in {422, 507}
    assert (aborted.json()["state"], aborted.json()["host_state"]) == ("ABORTED", "CORDONED")
    assert again.status_code == 409
    assert cloud.woken.count(str(made.host_id)) >= 3


async def test_a_drain_is_undone_to_an_active_host(http: httpx2.AsyncClient) -> None:
    await http.post("/v1/hosts/alpha/drain")
    undone = await http.post("/v1/hosts/alpha/drain/undo", json={"reason": "changed my mind"})

    assert (undone.json()["state"], undone.json()["host_state"]) == ("ABORTED", "ACTIVE")
    assert (await http.get("/v1/hosts/alpha")).json()["state_reason"] == "changed my mind"


async def test_another_machine_is_accepted_by_its_uuid_alone(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    old, new = "1" * 8 + "-1111" * 3 + "-" + "1" * 12, "2" * 8 + "-2222" * 3 + "-" + "2" * 12
    host = await cloud.services.hosts.get("alpha")
    await cloud.poll(host, host_uuid=old, refused_host_uuid=new)
    shown = (await http.get("/v1/hosts/alpha")).json()
    assert (shown["host_uuid"], shown["refused_host_uuid"]) == (old, new)

    path = "/v1/hosts/alpha/accept-identity"
    for body in ({}, {"host_uuid": new.upper() + "x"}, {"host_uuid": None}):
        assert (await http.post(path, json=body)).status_code == 422
    wrong = await http.post(path, json={"host_uuid": old})
    assert (wrong.status_code, wrong.json()["refused_host_uuid"]) == (409, new)
    tried = await http.post(f"{path}?dry_run=true", json={"host_uuid": new})
    assert (tried.status_code, tried.json()["host_uuid"]) == (200, new)
    assert (await http.get("/v1/hosts/alpha")).json()["host_uuid"] == old
    accepted = await http.post(path, json={"host_uuid": new})
    assert (accepted.json()["host_uuid"], accepted.json()["refused_host_uuid"]) == (new, None)
