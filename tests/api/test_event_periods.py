"""The journal of a period, named by its times."""

from __future__ import annotations

from datetime import timedelta

import httpx2
import pytest

from tests.api.test_events import STREAM, messages, take
from tests.clocks import ManualClock
from tests.service.planes import Plane


async def test_a_period_is_asked_for_by_its_times(
    http: httpx2.AsyncClient, cloud: Plane, clock: ManualClock
) -> None:
    made = []
    for _ in range(4):
        made.append((await cloud.create(vcpus=1)).id)
        clock.advance(10)
    start = clock.now() - timedelta(seconds=40)

    async def told(**query: str) -> list[str]:
        answer = await http.get("/v1/events", params={"kind": "sandbox.created", **query})
        assert answer.status_code == 200, answer.text
        return [event["sandbox_id"] for event in answer.json()["items"]]

    def at(tens: int) -> str:
        return (start + timedelta(seconds=10 * tens)).isoformat()

    assert await told(since_time=at(2)) == made[2:], "its first moment belongs to it"
    assert await told(until_time=at(2)) == made[:2], "and its last does not"
    assert await told(since_time=at(1), until_time=at(3)) == made[1:3]
    assert await told(since_time=at(3).replace("+00:00", "Z")) == made[3:]
    assert await told(until_time=at(2), last="1") == made[1:2]
    assert await told(since_time=at(9)) == await told(until_time=at(-9)) == []
    page = (await http.get("/v1/events", params={"since_time": at(1), "limit": "2"})).json()
    rest = await told(since_time=at(1), cursor=page["next_cursor"])
    assert [event["sandbox_id"] for event in page["items"]] + rest == made[1:]


async def test_a_stream_may_begin_at_a_time_and_has_no_end(
    http: httpx2.AsyncClient, cloud: Plane, clock: ManualClock
) -> None:
    await cloud.create(vcpus=1)
    clock.advance(10)
    later = clock.now().isoformat().replace("+00:00", "Z")
    made = await cloud.create(vcpus=1)
    query = f"/v1/events?kind=sandbox.created&since_time={later}"
    async with http.stream("GET", query, headers=STREAM) as answer:
        [only] = await take(messages(answer.aiter_lines()), 1)
    assert only["data"]["sandbox_id"] == made.id
    answer = await http.get(f"/v1/events?until_time={later}", headers=STREAM)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert "no end" in answer.json()["detail"]


@pytest.mark.parametrize(
    "given", ["2h", "2026-01-05", "2026-01-05T12:00:00", "2026-13-05T12:00:00Z", "1767614400"]
)
async def test_what_is_no_time_is_refused(http: httpx2.AsyncClient, given: str) -> None:
    answer = await http.get("/v1/events", params={"since_time": given})
    assert answer.status_code == 422
    assert [fault["path"] for fault in answer.json()["errors"]] == ["query.since_time"]


async def test_a_time_beyond_all_times_is_refused(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/v1/events", params={"until_time": "0001-01-01T00:00:00+09:00"})
    assert answer.json()["errors"][0]["remedy"].startswith("give it as RFC 3339 has it")
