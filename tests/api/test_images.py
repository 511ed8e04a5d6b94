"""Images over HTTP: announced, sent in parts of any length, checked, refused with reasons."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2

from scheduler.control.ingestor import Ingestor
from scheduler.hosts.driver import HostDriver
from scheduler.model import HostResources
from tests.api.conftest import client
from tests.control.imagery import content, digest_of
from tests.service.planes import Plane
from tests.waits import until, until_answer

OCTETS = {"content-type": "application/octet-stream"}


def announced(body: bytes, name: str = "golden", **fields: object) -> dict[str, object]:
    return {"name": name, "digest": digest_of(body), "size_bytes": len(body), **fields}


async def ingest(cloud: Plane, image_id: str) -> None:
    """Do what the loop does when it is woken."""

    def nowhere(host: HostResources) -> HostDriver:
        raise AssertionError(host)

    ingestor = Ingestor(
        cloud.store,
        cloud.clock,
        drivers=nowhere,
        files=cloud.shelf.files,
        changed=cloud.shelf.catalogue.put,
        most_bytes=2**30,
        most_virtual_bytes=2**40,
    )
    await ingestor.ingest(image_id)


async def ready(http: httpx2.AsyncClient, cloud: Plane) -> str:
    body = content()
    taken = (await http.post("/v1/images", json=announced(body))).json()
    await http.put(f"/v1/images/{taken['id']}/content", content=body, headers=OCTETS)
    await ingest(cloud, taken["id"])
    return str(taken["id"])


async def test_an_image_is_announced_sent_and_checked(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    body = content()
    answer = await http.post("/v1/images", json=announced(body))
    taken = answer.json()
    assert (answer.status_code, taken["state"]) == (202, "RECEIVING")
    assert answer.headers["location"] == f"/v1/images/{taken['id']}"
    half = len(body) // 2
    path = f"/v1/images/{taken['id']}/content"
    first = await http.put(path, content=body[:half], headers=OCTETS)
    assert (first.status_code, first.json()["received_bytes"]) == (200, half)
    torn = await http.put(path, content=body, headers=OCTETS)
    assert (torn.status_code, torn.json()["received_bytes"]) == (409, half)
    rest = await http.put(f"{path}?offset={half}", content=body[half:], headers=OCTETS)
    assert rest.json()["state"] == "CHECKING"
    assert taken["id"] in cloud.woken
    again = await http.put(path, content=body, headers=OCTETS)
    assert (again.status_code, again.json()["state"]) == (409, "CHECKING")
    await ingest(cloud, taken["id"])
    for reference in (taken["id"], "golden", digest_of(body)):
        found = (await http.get(f"/v1/images/{reference}", params={"wait": "1s"})).json()
        assert (found["state"], found["format"]) == ("READY", "qcow2")
    listed = (await http.get("/v1/images", params={"state": "READY"})).json()["items"]
    assert [one["id"] for one in listed] == [taken["id"]]
    assert (await http.get("/v1/images", params={"name": "other"})).json()["items"] == []


async def test_the_same_image_announced_again_is_the_one_that_is_there(
    http: httpx2.AsyncClient,
) -> None:
    first = (await http.post("/v1/images", json=announced(b"x" * 512))).json()
    again = await http.post("/v1/images", json=announced(b"x" * 512))
    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    other = await http.post("/v1/images", json=announced(b"y" * 512))
    assert (other.status_code, other.json()["code"]) == (409, "already_exists")


async def test_what_is_announced_is_checked(http: httpx2.AsyncClient) -> None:
    bad: tuple[dict[str, object], ...] = (
        {"name": "golden"},
        {"name": "golden", "digest": digest_of(b"")},
        {"name": "golden", "host": "alpha"},
        announced(b"x", host="alpha", volume="v"),
        announced(b"x", name="../etc"),
        announced(b"x") | {"digest": "md5:1"},
        announced(b"x") | {"size_bytes": 0},
        announced(b"x") | {"size_bytes": 2**49},
    )
    for body in bad:
        answer = await http.post("/v1/images", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), body
        assert answer.json()["remediation"]
    gone = await http.post("/v1/images", json={"name": "x", "host": "nobody", "volume": "v"})
    assert gone.status_code == 404


async def test_an_upload_that_breaks_off_keeps_what_came(
    http: httpx2.AsyncClient, cloud: Plane, socket_path: Path
) -> None:
    body = b"z" * (3 * 2**20)
    taken = (await http.post("/v1/images", json=announced(body))).json()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(socket_path))
        head = f"PUT /v1/images/{taken['id']}/content HTTP/1.1\r\nhost: x\r\n"
        raw.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode())
        await asyncio.to_thread(raw.sendall, body[: 2**20 + 17])
        await until(lambda: cloud.shelf.files.received(taken["id"]) >= 2**20)
    there: list[int] = []

    async def resumed() -> bool:
        there.append((await http.get(f"/v1/images/{taken['id']}")).json()["received_bytes"])
        path = f"/v1/images/{taken['id']}/content?offset={there[-1]}"
        return (await http.put(path, content=body[there[-1] :], headers=OCTETS)).status_code == 200

    await until_answer(resumed)
    assert there[-1] >= 2**20
    assert await cloud.shelf.files.digest(taken["id"]) == digest_of(body)


async def test_a_create_is_refused_at_once_for_a_disk_smaller_than_its_image(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    await ready(http, cloud)
    wanted = {"base_image": "golden", "agent_id": "ana", "storage_mb": 15}
    answer = await http.post("/v1/sandboxes", json=wanted)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert "at least 16 MiB" in answer.json()["remediation"]
    fits = await http.post("/v1/sandboxes", json=wanted | {"storage_mb": 16})
    made = fits.json()
    assert (fits.status_code, made["image_digest"]) == (202, digest_of(content()))
    refused = await http.delete("/v1/images/golden")
    assert (refused.status_code, refused.json()["sandboxes"]) == (409, [made["id"]])
    assert made["sandbox_name"] in refused.json()["detail"]
    assert (await http.delete("/v1/images/golden?dry_run=true")).status_code == 409
    decision = (await http.get(f"/v1/sandboxes/{made['id']}/decision")).json()
    assert decision["chosen"][0]["transfer_seconds"] >= 0


async def test_hosts_are_given_an_image_and_rid_of_it(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    await cloud.add_host("beta", labels={"zone": "b"})
    image_id = await ready(http, cloud)
    selected = await http.post("/v1/images/golden/prefetch", json={"host_selector": {"zone": "b"}})
    assert selected.status_code == 202
    assert [one["host_name"] for one in selected.json()["replicas"]] == ["beta"]
    everywhere = (await http.post("/v1/images/golden/prefetch")).json()["replicas"]
    assert {(one["host_name"], one["state"], one["pinned"]) for one in everywhere} == {
        ("alpha", "wanted", True),
        ("beta", "wanted", True),
    }
    assert sum(key.startswith(f"{image_id}/") for key in cloud.woken) >= 2
    evicted = (await http.delete("/v1/images/golden/replicas/beta")).json()["replicas"]
    assert {one["host_name"]: one["state"] for one in evicted}["beta"] == "removing"
    back = await http.post("/v1/images/golden/prefetch", json={"hosts": ["beta"]})
    assert {one["host_name"]: one["state"] for one in back.json()["replicas"]}["beta"] == "wanted"
    assert (await http.delete("/v1/images/golden/replicas/nobody")).status_code == 404
    removed = await http.delete("/v1/images/golden")
    assert (removed.status_code, removed.json()["state"]) == (202, "REMOVING")
    assert {one["state"] for one in removed.json()["replicas"]} == {"removing"}
    assert (await http.delete("/v1/images/golden")).status_code == 202
    unusable = await http.post("/v1/images/golden/prefetch")
    assert (unusable.status_code, unusable.json()["state"]) == (409, "REMOVING")
    late = await http.post("/v1/sandboxes", json={"base_image": "golden", "agent_id": "ana"})
    assert late.status_code in (422, 507)


async def test_a_host_that_holds_no_replica_cannot_be_rid_of_one(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    await ready(http, cloud)
    answer = await http.delete("/v1/images/golden/replicas/alpha")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_others_are_served_while_an_image_arrives(
    http: httpx2.AsyncClient, cloud: Plane, socket_path: Path
) -> None:
    part = bytes(2**18)
    size = 64 * len(part)
    digest = f"sha256:{hashlib.sha256(part * 64).hexdigest()}"
    taken = (
        await http.post("/v1/images", json={"name": "b", "digest": digest, "size_bytes": size})
    ).json()
    seen: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        async with client(socket_path) as other:
            for number in range(64):
                if number % 16 == 8:
                    seen.append((await other.get("/healthz")).status_code)
                yield part

    path = f"/v1/images/{taken['id']}/content"
    answer = await http.put(path, content=body(), headers=OCTETS)
    assert (answer.json()["state"], seen) == ("CHECKING", [200] * 4)
    assert cloud.shelf.files.received(taken["id"]) == size
