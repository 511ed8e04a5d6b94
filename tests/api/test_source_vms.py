"""Machines that are not ours over HTTP: as they were last seen, and only when somebody can tell."""

from __future__ import annotations

import httpx2

from scheduler.model import DomainState, ObservedDomain
from tests.clocks import ManualClock
from tests.service.machines import machine
from tests.service.planes import Plane

ALL = "/v1/source-vms"


def foreign(name: str, number: int, *, forged: bool = False) -> ObservedDomain:
    return ObservedDomain(
        uuid=f"6b0f1e9c-5a51-4d5e-8f6a-{number:012}",
        name=name,
        state=DomainState.SHUT_OFF,
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
    }
    gone = await http.get(f"{ALL}/alpha/other")
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
    assert "sandboxctl source list --host alpha" in gone.json()["remediation"]
    clock.advance(3600)
    late = await http.get(f"{ALL}/alpha/web%201")
    assert (late.status_code, late.json()["health"]) == (409, "UP")
    assert (await http.get(ALL)).json()["items"] == []
