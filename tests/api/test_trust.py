"""Audits, orphans, rebuilding and forgetting over HTTP."""

from __future__ import annotations

import httpx2
import pytest

from scheduler.model import HostHealth
from tests.service.machines import Machine, built, lost, machine
from tests.service.planes import Plane

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def alpha(cloud: Plane) -> Machine:
    return await machine(cloud)


async def test_an_audit_tells_findings_orphans_and_hosts(
    http: httpx2.AsyncClient, cloud: Plane, alpha: Machine
) -> None:
    box = await built(alpha, await cloud.create())
    stranger = lost(alpha)
    del alpha.domains[box.domain_uuid or ""]
    alpha.see(times=2)
    answer = await http.get("/v1/audit")

    report = answer.json()
    assert (answer.status_code, report["clean"]) == (200, False)
    (finding,) = report["findings"]
    assert (finding["code"], finding["sandbox_id"]) == ("domain_missing", box.id)
    (orphan,) = report["orphans"]
    assert (orphan["code"], orphan["domain_uuid"], orphan["verbs"]) == (
        "no_record",
        stranger.domain_uuid,
        ["adopt", "reap"],
    )
    (host,) = report["hosts"]
    assert (host["host_name"], host["audited"], host["domains"]) == ("alpha", True, 1)
    listed = (await http.get("/v1/orphans")).json()
    assert listed == {"items": [orphan], "next_cursor": None}


async def test_healing_answers_what_it_did_and_again_the_same_for_its_key(
    http: httpx2.AsyncClient, cloud: Plane, alpha: Machine
) -> None:
    alpha.see(times=2)
    key = {"idempotency-key": "heal-1"}
    healed = await http.post("/v1/audit/heal", headers=key)
    again = await http.post("/v1/audit/heal", headers=key)
    assert healed.status_code == 200
    assert (healed.json()["counters"], healed.json()["after"]["clean"]) == ([], True)
    assert (again.json(), again.headers["idempotency-replayed"]) == (healed.json(), "true")


async def test_an_orphan_is_adopted_once_for_its_key(
    http: httpx2.AsyncClient, alpha: Machine
) -> None:
    gone = lost(alpha)
    alpha.see()
    path = f"/v1/orphans/alpha/{gone.domain_uuid}/adopt"
    key = {"idempotency-key": "adopt-1"}
    adopted = await http.post(path, json={"reason": "mine"}, headers=key)
    assert (adopted.status_code, adopted.json()["id"]) == (202, gone.id)
    assert (await http.post(path, json={"reason": "mine"}, headers=key)).status_code == 202
    refused = await http.post(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert refused.json()["remediation"]


async def test_an_orphan_is_reaped(http: httpx2.AsyncClient, alpha: Machine) -> None:
    gone = lost(alpha)
    alpha.see()
    reaped = await http.post(f"/v1/orphans/alpha/{gone.domain_uuid}/reap")
    assert (reaped.status_code, reaped.json()["desired_state"]) == (202, "DESTROYED")
    assert (await http.get(f"/v1/sandboxes/{gone.id}")).json()["state"] == "STARTING"


@pytest.mark.parametrize("verb", ["adopt", "reap"])
async def test_what_is_not_there_is_refused(
    http: httpx2.AsyncClient, alpha: Machine, verb: str
) -> None:
    alpha.see()
    assert (await http.post(f"/v1/orphans/alpha/{MISSING}/{verb}")).status_code == 404
    assert (await http.post(f"/v1/orphans/nowhere/{MISSING}/{verb}")).status_code == 404
    for uuid in ("x", MISSING.upper() + "A", f"{MISSING}0", "%2e%2e"):
        answer = await http.post(f"/v1/orphans/alpha/{uuid}/{verb}")
        assert answer.status_code in (404, 422), uuid
    unknown = await http.post(f"/v1/orphans/alpha/{MISSING}/{verb}", json={"cause": "x"})
    assert (unknown.status_code, unknown.json()["errors"][0]["path"]) == (422, "cause")


async def test_a_rebuild_may_be_tried_first(
    http: httpx2.AsyncClient, cloud: Plane, alpha: Machine
) -> None:
    gone = lost(alpha)
    alpha.see()
    tried = (await http.post("/v1/rebuild?dry_run=true")).json()
    assert (tried["dry_run"], tried["sandboxes"][0]["sandbox_id"]) == (True, gone.id)
    assert (await http.get(f"/v1/sandboxes/{gone.id}")).status_code == 404
    done = await http.post("/v1/rebuild", json={"reason": "the disk died"})
    assert (done.status_code, done.json()["complete"]) == (200, True)
    assert (await http.get(f"/v1/sandboxes/{gone.id}")).json()["sandbox_name"] == "lost"


async def test_forgetting_is_for_hosts_that_do_not_answer(
    http: httpx2.AsyncClient, cloud: Plane, alpha: Machine
) -> None:
    box = await built(alpha, await cloud.create())
    path = f"/v1/sandboxes/{box.id}/forget"
    plan = (await http.post(f"{path}?dry_run=true")).json()
    assert (plan["hosts"], plan["blockers"]) == (["alpha"], ["host alpha is UP"])
    refused = await http.post(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    await cloud.poll(alpha.host, health=HostHealth.DOWN)
    gone = await http.post(path, json={"reason": "it burned"})
    assert (gone.status_code, gone.json()["state"]) == (200, "DESTROYED")


async def test_the_document_says_what_a_dry_forgetting_answers(http: httpx2.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    forget = document["paths"]["/v1/sandboxes/{reference}/forget"]["post"]
    schema = forget["responses"]["200"]["content"]["application/json"]["schema"]
    named = {one["$ref"].rpartition("/")[2] for one in schema["anyOf"]}
    assert named == {"Sandbox", "Forgetting"}


async def test_a_wait_beyond_all_patience_is_refused(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/v1/audit?wait=6m")).status_code == 422
    assert (await http.get("/v1/orphans?wait=soon")).status_code == 422


async def test_the_doctor_tells_every_check_with_its_remedy(
    http: httpx2.AsyncClient, cloud: Plane, alpha: Machine
) -> None:
    alpha.see()
    answer = await http.get("/v1/doctor")
    assert (answer.status_code, answer.json()["healthy"]) == (200, True)
    await cloud.poll(alpha.host, health=HostHealth.DOWN, health_reason="no route")
    report = (await http.get("/v1/doctor")).json()
    (failed,) = [check for check in report["checks"] if check["verdict"] == "failed"]
    assert report["healthy"] is False
    assert failed == {
        "subject": "alpha",
        "name": "reach",
        "verdict": "failed",
        "message": "DOWN: no route",
        "remedy": "sandboxctl host show alpha",
    }
