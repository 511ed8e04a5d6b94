"""Sandboxes over HTTP: what is answered, what is kept, what is refused."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx2

from scheduler.api.app import build_app
from scheduler.api.listener import serve
from scheduler.model import SandboxState
from scheduler.store import EventFilter
from tests.api.conftest import client
from tests.clocks import ManualClock
from tests.service.planes import IMAGE, Plane, database, plane
from tests.waits import until

BODY: dict[str, Any] = {"base_image": IMAGE, "agent_id": "agent-1"}


async def test_a_creation_is_accepted_with_its_record(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/sandboxes", json={**BODY, "labels": {"team": "ml"}})

    made = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/sandboxes/{made['id']}"
    assert (made["state"], made["desired_state"], made["host_name"]) == (
        "CREATED",
        "RUNNING",
        "alpha",
    )
    assert (made["vcpus"], made["memory_mb"], made["labels"]) == (2, 2048, {"team": "ml"})
    shown = await http.get(answer.headers["location"])
    assert shown.json() == made
    assert shown.headers["etag"] == '"1"'


async def test_the_actor_is_the_peer_of_the_socket(http: httpx2.AsyncClient, cloud: Plane) -> None:
    made = (await http.post("/v1/sandboxes", json=BODY)).json()
    events = await cloud.services.events.find(0, EventFilter(sandbox_id=made["id"]), 10)

    assert [event.actor for event in events] == [f"uid:{os.getuid()}"]


async def test_no_room_is_507_with_every_host_s_reason(http: httpx2.AsyncClient) -> None:
    for _ in range(4):
        assert (await http.post("/v1/sandboxes", json=BODY)).status_code == 202

    answer = await http.post("/v1/sandboxes", json=BODY)
    told = answer.json()
    decision = (await http.get(f"/v1/decisions/{told['decision_id']}")).json()

    assert answer.status_code == 507
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "15"
    assert (told["code"], told["retry_after"], told["refusals"]) == (
        "capacity_exhausted",
        15,
        {"cpu": 1},
    )
    assert told["hosts"][0]["host_name"] == "alpha"
    assert (told["hosts"][0]["have"], told["hosts"][0]["need"]) == (0, 2)
    assert told["remediation"]
    assert decision["outcome"] == "capacity_exhausted"


async def test_the_impossible_is_422_and_not_to_be_retried(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/sandboxes", json={**BODY, "host_selector": {"gpu": "yes"}})

    assert answer.status_code == 422
    assert answer.json()["code"] == "constraint_impossible"
    assert "retry-after" not in answer.headers


async def test_a_dry_run_claims_nothing(http: httpx2.AsyncClient, cloud: Plane) -> None:
    planned = await http.post("/v1/sandboxes?dry_run=true", json=BODY)

    assert (planned.status_code, planned.json()["host_name"]) == (200, "alpha")
    assert (await http.get("/v1/sandboxes")).json() == {"items": [], "next_cursor": None}
    assert cloud.fleet.hosts()[0].reserved_cpus == 0


async def test_twins_at_once_make_one_sandbox(http: httpx2.AsyncClient) -> None:
    twins = await asyncio.gather(
        *(
            http.post("/v1/sandboxes", json=BODY, headers={"Idempotency-Key": "k-1"})
            for _ in range(20)
        )
    )

    assert {twin.status_code for twin in twins} == {202}
    assert len({twin.text for twin in twins}) == 1
    assert len({twin.headers["location"] for twin in twins}) == 1
    assert sum("idempotency-replayed" not in twin.headers for twin in twins) == 1
    assert len((await http.get("/v1/sandboxes")).json()["items"]) == 1


async def test_a_key_belongs_to_one_request(http: httpx2.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k-1"}
    made = await http.post("/v1/sandboxes", json=BODY, headers=headers)
    other = await http.post("/v1/sandboxes", json={**BODY, "vcpus": 1}, headers=headers)
    elsewhere = await http.post(f"/v1/sandboxes/{made.json()['id']}/stop", headers=headers)

    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert elsewhere.status_code == 202, "another path is another request"


async def test_a_refusal_is_not_kept(http: httpx2.AsyncClient, cloud: Plane) -> None:
    headers = {"Idempotency-Key": "k-1"}
    made = [(await http.post("/v1/sandboxes", json=BODY)).json() for _ in range(4)]
    assert (await http.post("/v1/sandboxes", json=BODY, headers=headers)).status_code == 507

    await cloud.bury(await cloud.services.sandboxes.get(made[0]["id"]))
    await cloud.fleet.load()

    assert (await http.post("/v1/sandboxes", json=BODY, headers=headers)).status_code == 202


async def test_an_answer_outlives_the_daemon(
    tmp_path: Path, socket_path: Path, clock: ManualClock
) -> None:
    answers = []
    for _ in range(2):
        async with plane(database(tmp_path), clock) as cloud:
            if not cloud.fleet.hosts():
                await cloud.add_host("alpha")
            async with (
                serve(build_app(cloud.services), socket_path, group=None),
                client(socket_path) as http,
            ):
                headers = {"Idempotency-Key": "k-1"}
                answers.append(await http.post("/v1/sandboxes", json=BODY, headers=headers))

    assert answers[0].text == answers[1].text
    assert answers[1].headers["idempotency-replayed"] == "true"


async def test_a_malformed_key_is_refused(http: httpx2.AsyncClient) -> None:
    for key in ("", "a b", "k" * 201):
        answer = await http.post("/v1/sandboxes", json=BODY, headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), key


async def test_listings_filter_and_page(http: httpx2.AsyncClient, cloud: Plane) -> None:
    await cloud.add_host("beta")
    for number in range(6):
        labels = {"team": "ml" if number % 2 else "web"}
        body = {**BODY, "vcpus": 1, "sandbox_name": f"box-{number}", "labels": labels}
        assert (await http.post("/v1/sandboxes", json=body)).status_code == 202

    async def names(query: str) -> list[str]:
        answer = await http.get(f"/v1/sandboxes?{query}")
        assert answer.status_code == 200, answer.text
        return [item["sandbox_name"] for item in answer.json()["items"]]

    page = (await http.get("/v1/sandboxes?limit=4&order_by=sandbox_name")).json()
    rest = await names(f"limit=4&order_by=sandbox_name&cursor={page['next_cursor']}")
    assert [item["sandbox_name"] for item in page["items"]] + rest == [
        f"box-{number}" for number in range(6)
    ]
    assert sorted(await names("label=team=ml")) == ["box-1", "box-3", "box-5"]
    assert await names("label=team=ml&label=team2=x") == []
    assert await names("name=box-2") == ["box-2"]
    assert len(await names("host=alpha")) == len(await names("host=beta")) == 3
    assert await names("state=RUNNING") == []
    assert len(await names("id_prefix=SBX-&agent_id=agent-1")) == 6
    assert await names("order_by=-sandbox_name&limit=1") == ["box-5"]


async def test_verbs_answer_the_wish(http: httpx2.AsyncClient, cloud: Plane) -> None:
    made = (await http.post("/v1/sandboxes", json={**BODY, "ttl_seconds": 60})).json()
    path = f"/v1/sandboxes/{made['id']}"

    stopping = await http.post(f"{path}/stop")
    extended = await http.post(f"{path}/extend", json={"ttl_seconds": 120})
    retried = await http.post(f"{path}/retry")
    held = await http.delete(f"{path}?dry_run=true")
    gone = await http.delete(path)
    late = await http.post(f"{path}/start")

    assert (stopping.status_code, stopping.json()["desired_state"]) == (202, "STOPPED")
    assert (extended.status_code, extended.json()["ttl_seconds"]) == (200, 120)
    assert (retried.status_code, retried.json()["code"]) == (409, "conflict")
    assert held.json()["allocations"][0]["host_id"] == made["host_id"]
    assert (gone.status_code, gone.json()["desired_state"]) == (202, "DESTROYED")
    assert (late.status_code, late.json()["desired_state"]) == (409, "DESTROYED")
    assert cloud.woken.count(made["id"]) >= 3


async def test_the_address_and_the_decision_have_paths(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    made = await cloud.create(sandbox_name="box")
    nothing = (await http.get("/v1/sandboxes/box/ip")).json()
    starting = await cloud.become(made, SandboxState.STARTING)
    await cloud.become(starting, SandboxState.RUNNING, address="192.0.2.7")

    assert nothing["ip_address"] is None
    assert (await http.get("/v1/sandboxes/box/ip")).json()["ip_address"] == "192.0.2.7"
    assert (await http.get("/v1/sandboxes/box/decision")).json()["host_name"] == "alpha"


async def test_wait_answers_what_has_become_of_it(http: httpx2.AsyncClient, cloud: Plane) -> None:
    asked = asyncio.create_task(http.post("/v1/sandboxes?wait=30s", json=BODY))
    await until(lambda: cloud.journal.waiting > 0, what="the request waits")
    [made] = await cloud.store.read(lambda tx: tx.sandboxes.live())
    starting = await cloud.become(made, SandboxState.STARTING)
    await cloud.become(starting, SandboxState.RUNNING, address="192.0.2.7")

    answer = await asked

    assert (answer.status_code, answer.json()["state"]) == (200, "RUNNING")


async def test_waiting_in_vain_answers_202(
    http: httpx2.AsyncClient, cloud: Plane, clock: ManualClock
) -> None:
    asked = asyncio.create_task(http.post("/v1/sandboxes?wait=30s", json=BODY))
    await until(lambda: cloud.journal.waiting > 0, what="the request waits")
    clock.advance(31)

    answer = await asked

    assert (answer.status_code, answer.json()["state"]) == (202, "CREATED")


async def test_what_is_not_there_is_404(http: httpx2.AsyncClient) -> None:
    for method, path in (
        ("GET", "/v1/sandboxes/SBX-0"),
        ("DELETE", "/v1/sandboxes/SBX-0"),
        ("POST", "/v1/sandboxes/nobody/stop"),
        ("GET", "/v1/decisions/DEC-0"),
        ("GET", "/v1/nothing"),
    ):
        answer = await http.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
        assert answer.json()["remediation"], path
