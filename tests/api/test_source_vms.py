"""Machines that are not ours over HTTP: as they were last seen, and only when somebody can tell."""

from __future__ import annotations

from dataclasses import replace

import httpx2

from scheduler.model import DomainState, InspectionStatus, ObservedDomain, SourceVM
from scheduler.sources.preparations import failed, from_json, to_json
from scheduler.store import Transaction
from tests.clocks import ManualClock
from tests.service.machines import machine
from tests.service.planes import AUTHORITY, Plane

ALL = "/v1/source-vms"


def foreign(
    name: str,
    number: int,
    *,
    forged: bool = False,
    state: DomainState = DomainState.SHUT_OFF,
) -> ObservedDomain:
    return ObservedDomain(
        uuid=f"6b0f1e9c-5a51-4d5e-8f6a-{number:012}",
        name=name,
        state=state,
        vcpus=2,
        memory_mb=2048,
        forged=forged,
    )


async def fill(cloud: Plane, host: str, *domains: ObservedDomain) -> None:
    there = await machine(cloud, host)
    there.domains = {domain.uuid: domain for domain in domains}
    there.holds(await cloud.create(host=host))
    there.see()


async def test_what_is_not_ours_is_listed_by_host_and_name_in_pages(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    await cloud.add_host("alpha-2")
    await fill(cloud, "alpha-2", foreign("master", 1))
    await fill(
        cloud, "alpha", foreign("web 1", 2), foreign("db", 3), foreign("fake", 4, forged=True)
    )
    found = (await http.get(ALL)).json()
    named = [(one["host_name"], one["name"]) for one in found["items"]]
    assert named == [("alpha", "db"), ("alpha", "web 1"), ("alpha-2", "master")]
    assert found["next_cursor"] is None
    paged: list[tuple[str, str]] = []
    query: dict[str, str | int] = {"limit": 1}
    while True:
        page = (await http.get(ALL, params=query)).json()
        paged += [(one["host_name"], one["name"]) for one in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert paged == named
    only = (await http.get(ALL, params={"host": "alpha-2"})).json()["items"]
    assert [one["name"] for one in only] == ["master"]
    assert (await http.get(ALL, params={"host": "nobody"})).status_code == 404


async def test_one_is_shown_as_it_was_last_seen(
    http: httpx2.AsyncClient, cloud: Plane, clock: ManualClock
) -> None:
    unseen = await http.get(f"{ALL}/alpha/web%201")
    assert (unseen.status_code, unseen.json()["code"]) == (409, "conflict")
    assert (await http.get(ALL)).json()["items"] == []
    await fill(cloud, "alpha", foreign("web 1", 2))
    clock.advance(5)
    shown = (await http.get(f"{ALL}/alpha/web%201")).json()
    assert shown == {
        "host_name": "alpha",
        "name": "web 1",
        "uuid": "6b0f1e9c-5a51-4d5e-8f6a-000000000002",
        "state": "shut_off",
        "vcpus": 2,
        "memory_mb": 2048,
        "seen_seconds_ago": 5.0,
        "id": None,
        "prepared": False,
        "unprepared_because": "it was not prepared",
        "prepared_at": None,
        "ca_fingerprint": None,
        "host_key": None,
        "preparation": None,
    }
    gone = await http.get(f"{ALL}/alpha/other")
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
    assert "sandboxctl source list --host alpha" in gone.json()["remediation"]
    clock.advance(3600)
    late = await http.get(f"{ALL}/alpha/web%201")
    assert (late.status_code, late.json()["health"]) == (409, "UP")
    assert (await http.get(ALL)).json()["items"] == []


async def recorded(cloud: Plane, **changes: object) -> SourceVM:
    """Change what is recorded of the machine, as a loop would."""

    def unit(tx: Transaction) -> SourceVM:
        source = tx.source_vms.by_name("web 1", "alpha")
        return tx.source_vms.replace(replace(source, **changes))  # type: ignore[arg-type]

    return await cloud.store.submit(unit)


async def test_a_preparation_is_planned_agreed_to_once_and_waited_for(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    path = f"{ALL}/alpha/web%201"
    await fill(cloud, "alpha", foreign("web 1", 2, state=DomainState.RUNNING))
    plan = (await http.post(f"{path}/prepare", params={"dry_run": True})).json()
    assert plan["steps"][0]["name"] == "log_in"
    assert "root" in plan["steps"][0]["purpose"]
    assert plan["blockers"] == ["this daemon has no key for source VMs: [sources] ssh_key"]
    assert (await http.get(path)).json()["id"] is None
    body = {"user": "deployer", "address": "192.0.2.7", "host_key": f"SHA256:{'A' * 43}"}
    asked = await http.post(f"{path}/prepare", json=body, headers={"idempotency-key": "k"})
    assert (asked.status_code, asked.json()["preparation"]["outcome"]) == (202, "running")
    again = await http.post(f"{path}/prepare", json=body, headers={"idempotency-key": "k"})
    assert again.json() == asked.json()
    assert cloud.woken[-1] == asked.json()["id"]
    running = (await http.get(path)).json()["preparation"]
    assert (running["user"], running["address"]) == ("deployer", "192.0.2.7")
    busy = (await http.post(f"{path}/prepare", params={"dry_run": True})).json()
    assert "it is being prepared already" in busy["blockers"]
    source = await recorded(cloud)
    preparation = from_json(source.prepare_json)
    assert preparation is not None
    ended = failed(preparation, preparation.steps[0].name, "no sshd", "start it", source.created_at)
    await recorded(cloud, prepare_json=to_json(ended))
    waited = (await http.get(path, params={"wait": "30s"})).json()
    assert waited["preparation"]["reason"] == "no sshd"


async def test_what_cannot_be_prepared_or_looked_at_is_refused_and_says_why(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    path = f"{ALL}/alpha/web%201"
    await fill(cloud, "alpha", foreign("web 1", 2))
    off = await http.post(f"{path}/prepare", json={})
    assert (off.status_code, off.json()["state"]) == (409, "shut_off")
    plan = (await http.post(f"{path}/prepare", params={"dry_run": True})).json()
    assert "nothing of others is started" in plan["blockers"][0]
    for body in ({"address": "nowhere"}, {"address": "1.2.3.4.5"}, {"host_key": "md5"}, {"x": 1}):
        assert (await http.post(f"{path}/prepare", json=body)).status_code == 422
    unprepared = await http.post(f"{path}/inspections", json={"argv": ["uptime"]})
    assert (unprepared.status_code, unprepared.json()["code"]) == (409, "conflict")
    assert "sandboxctl source prepare alpha" in unprepared.json()["remediation"]
    more = await http.post(f"{path}/inspections", json={"argv": ["find", "/", "-delete"]})
    assert (more.status_code, more.json()["code"]) == (422, "invalid")
    assert "'-delete'" in more.json()["detail"]
    assert "journalctl" in more.json()["remediation"]
    assert (await http.get(f"{path}/inspections")).status_code == 404
    assert (await http.get("/v1/inspections/INS-1")).status_code == 404


async def test_a_look_is_recorded_waited_for_and_listed_without_its_output(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    path = f"{ALL}/alpha/web%201"
    await fill(cloud, "alpha", foreign("web 1", 2, state=DomainState.RUNNING))
    await http.post(f"{path}/prepare", json={})
    await recorded(cloud, prepared=True, ca_fingerprint=AUTHORITY)
    asked = await http.post(f"{path}/inspections", json={"argv": ["cat", "/etc/hosts"]})
    look = asked.json()
    assert (asked.status_code, look["status"], look["timeout_seconds"]) == (202, "WAITING", 30)
    assert asked.headers["location"] == f"/v1/inspections/{look['id']}"
    waiting = await cloud.store.read(lambda tx: tx.inspections.get(look["id"]))
    ended = replace(
        waiting,
        status=InspectionStatus.DONE,
        exit_code=0,
        stdout="a\udcff",
        ended_at=waiting.asked_at,
    )
    await cloud.store.submit(lambda tx: tx.inspections.finish(ended))
    found = (await http.get(f"/v1/inspections/{look['id']}", params={"wait": "30s"})).json()
    assert (found["status"], found["stdout"]) == ("DONE", "a\ufffd")
    frozen = await http.post(f"{path}/freeze", json={"name": "golden"})
    assert (frozen.status_code, frozen.json()["state"]) == (202, "FREEZING")
    assert frozen.json()["source_vm"] == "alpha/web 1"
    assert cloud.woken[-1] == frozen.json()["id"]
    assert (await http.post(f"{path}/freeze", json={"name": "golden"})).status_code == 409
    clone = {"source_vm": "alpha/web 1", "agent_id": "a"}
    early = await http.post("/v1/sandboxes", json=clone)
    assert (early.status_code, early.json()["image"]) == (409, "golden")
    both = await http.post("/v1/sandboxes", json={**clone, "base_image": "x"})
    assert both.status_code == 422
    listed = (await http.get(f"{path}/inspections", params={"limit": 1})).json()["items"]
    assert [(one["id"], one["stdout"]) for one in listed] == [(look["id"], "")]
