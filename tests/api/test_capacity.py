"""How many sandboxes fit, over HTTP."""

from __future__ import annotations

import httpx2
import pytest

from tests.clocks import ManualClock
from tests.service.planes import IMAGE, Plane


async def test_the_sum_and_every_host_with_its_reason(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    await cloud.add_host("beta", cpus=1, labels={"zone": "two"})

    told = (await http.get("/v1/capacity")).json()

    assert (told["fits"], told["outcome"], told["refusals"]) == (4, "placed", {"cpu": 1})
    assert (told["at"], told["without_hosts"]) == (None, [])
    assert (told["demand"]["vcpus"], told["demand"]["image"]) == (2, None)
    assert told["demand"]["memory_mb"] > 2048, "the overhead is charged too"
    alpha, beta = told["hosts"]
    assert (alpha["host_name"], alpha["fits"], alpha["bound_by"]) == ("alpha", 4, "cpu")
    assert alpha["free"]["vcpus"] == alpha["limit"]["vcpus"] == 8
    assert alpha["free"]["sandboxes"] is None
    assert (beta["fits"], beta["bound_by"], beta["refused"]) == (0, None, ["cpu"])
    assert beta["message"] == "beta: cpu 1 in all < 2 wanted"


async def test_a_size_and_all_that_placement_asks_for(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    await cloud.add_host("beta", cpus=3, labels={"zone": "two"})

    async def fits(**query: str) -> int:
        return int((await http.get("/v1/capacity", params=query)).json()["fits"])

    assert await fits(vcpus="1") == 11
    assert await fits(vcpus="1", label="zone=two") == 3
    assert await fits(vcpus="1", host="alpha") == 8
    assert await fits(vcpus="1", without_host="alpha") == 3
    assert await fits(vcpus="1", anti_affinity_group="db") == 2
    assert await fits(vcpus="1", base_image=IMAGE) == 11
    assert await fits(vcpus="1", base_image="nowhere") == 0
    assert await fits(vcpus="1", network="nowhere") == 0
    assert await fits(vcpus="1", memory_mb="60000") == 2
    assert await fits(vcpus="1", storage_mb="600000") == 2


async def test_a_time_is_answered_as_it_was_understood(
    http: httpx2.AsyncClient, clock: ManualClock
) -> None:
    at = clock.now().isoformat()
    told = (await http.get("/v1/capacity", params={"at": at})).json()
    assert told["at"] == at.replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("vcpus=0", 422),
        ("label=zone", 422),
        ("at=tomorrow", 422),
        ("without_host=Alpha", 422),
        ("without_host=gamma", 404),
        ("agent_id=a", 422),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    http: httpx2.AsyncClient, query: str, status: int
) -> None:
    answer = await http.get(f"/v1/capacity?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
