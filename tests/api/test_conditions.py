"""If-Match: what is not as it was read is not changed (RFC 9110, 13.1.1), whatever the method."""

from __future__ import annotations

import httpx2
import pytest

from scheduler.api.app import build_app
from scheduler.api.headers import heeds_revision
from scheduler.api.routing import OperationRoute
from tests.service.planes import IMAGE, Plane

OTHER = {"if-match": '"99"'}
UUID = "5a0b2a0e-7a0a-4f0e-9d59-0a3f5f9f3a11"
BOX = [
    ("DELETE", "", None),
    ("DELETE", "?dry_run=true", None),
    ("POST", "/start", None),
    ("POST", "/stop", None),
    ("POST", "/retry", None),
    ("POST", "/extend", {"ttl_seconds": 3600}),
    ("POST", "/move", None),
    ("POST", "/move?dry_run=true", None),
    ("DELETE", "/move", None),
]
HOST = [
    ("PATCH", "", {"ratio_cpu": 2.0}),
    ("DELETE", "", None),
    ("DELETE", "?dry_run=true", None),
    ("POST", "/cordon", None),
    ("POST", "/uncordon", None),
    ("POST", "/accept-identity", {"host_uuid": UUID}),
    ("POST", "/accept-identity?dry_run=true", {"host_uuid": UUID}),
    ("POST", "/drain", None),
    ("POST", "/drain?dry_run=true", None),
    ("POST", "/drain/abort", None),
    ("POST", "/drain/undo", None),
]


@pytest.fixture
async def box(http: httpx2.AsyncClient) -> str:
    """Return the path of a sandbox."""
    made = await http.post(
        "/v1/sandboxes", json={"base_image": IMAGE, "agent_id": "a", "sandbox_name": "box"}
    )
    return str(made.headers["location"])


async def test_nothing_is_done_to_a_sandbox_that_changed(
    http: httpx2.AsyncClient, box: str
) -> None:
    read = (await http.get(box)).json()
    for method, verb, body in BOX:
        answer = await http.request(method, box + verb, json=body, headers=OTHER)
        assert (answer.status_code, answer.json()["code"]) == (412, "stale_revision"), verb
        assert answer.json()["revision"] == read["revision"]
    assert (await http.get(box)).json() == read
    events = (await http.get("/v1/events", params={"sandbox_id": read["id"]})).json()["items"]
    assert [one["kind"] for one in events] == ["sandbox.created"]


async def test_nothing_is_done_to_a_host_that_changed(http: httpx2.AsyncClient) -> None:
    read = await http.get("/v1/hosts/alpha")
    other = {"if-match": f'"{read.json()["revision"] + 7}"'}
    for method, verb, body in HOST:
        answer = await http.request(method, "/v1/hosts/alpha" + verb, json=body, headers=other)
        assert (answer.status_code, answer.json()["code"]) == (412, "stale_revision"), verb
    assert (await http.get("/v1/hosts/alpha")).json() == read.json()


async def test_what_is_as_it_was_read_is_changed(http: httpx2.AsyncClient, box: str) -> None:
    for method, verb, status in (("POST", "/stop", 202), ("DELETE", "", 202)):
        etag = (await http.get(box)).headers["etag"]
        answer = await http.request(method, box + verb, headers={"if-match": etag})
        assert answer.status_code == status
        stale = await http.request(method, box + verb, headers={"if-match": etag})
        assert stale.status_code == 412, "the first has changed it"
    etag = (await http.get("/v1/hosts/alpha")).headers["etag"]
    drained = await http.post("/v1/hosts/alpha/drain", headers={"if-match": etag})
    assert drained.status_code == 202


async def test_an_etag_is_another_one_after_each_verb(http: httpx2.AsyncClient, box: str) -> None:
    """Cordoned for another reason by somebody else, it is not the host that was read."""
    host, seen = "/v1/hosts/alpha", [(await http.get("/v1/hosts/alpha")).headers["etag"]]
    for verb in ("cordon", "uncordon", "cordon", "drain", "drain/abort", "drain"):
        await http.post(f"{host}/{verb}", json={"reason": verb})
        seen.append((await http.get(host)).headers["etag"])
    assert len(set(seen)) == len(seen)
    for stale in seen[:-1]:
        answer = await http.post(f"{host}/drain/undo", headers={"if-match": stale})
        assert answer.status_code == 412
    assert (await http.get(host)).json()["state"] == "DRAINING"
    read = (await http.get(box)).headers["etag"]
    await http.post(f"{box}/stop")
    answer = await http.request("DELETE", box, headers={"if-match": read})
    assert (answer.status_code, answer.json()["code"]) == (412, "stale_revision")


async def test_a_repeated_request_is_answered_as_it_was(http: httpx2.AsyncClient, box: str) -> None:
    """It was done; that its own effect made it stale is no reason to say otherwise."""
    headers = {"if-match": '"1"', "idempotency-key": "once"}
    first = await http.post(f"{box}/stop", headers=headers)
    again = await http.post(f"{box}/stop", headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["idempotency-replayed"] == "true"


async def test_where_nothing_has_an_etag_none_can_match(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    routes = [
        route
        for route in build_app(cloud.services).routes
        if isinstance(route, OperationRoute) and route.methods != {"GET"}
    ]
    refused = 0
    for route in routes:
        if heeds_revision(route.endpoint):
            continue
        (method,) = route.methods or {""}
        path = route.path.replace("{", "").replace("}", "")
        answer = await http.request(method, path, headers=OTHER)
        assert (answer.status_code, answer.json()["code"]) == (412, "stale_revision"), route.path
        refused += 1
    assert 20 < refused < len(routes) - 10
    listed = await http.get("/v1/sandboxes", headers=OTHER)
    assert listed.status_code == 200
    any_will_do = await http.post(
        "/v1/sandboxes?dry_run=true",
        json={"base_image": IMAGE, "agent_id": "a"},
        headers={"if-match": "*"},
    )
    assert any_will_do.status_code == 200
