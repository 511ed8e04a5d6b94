"""Every request has an id that the answer, the problem and the log have in common."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import httpx2
import pytest

from scheduler import logs
from scheduler.api.app import Api, build_app
from scheduler.api.listener import serve
from scheduler.api.routing import Operation
from tests.api.conftest import client
from tests.service.planes import IMAGE, Plane

MADE = re.compile(r"REQ-[0-9A-Z]{26}")
ID = "x-request-id"


async def test_an_id_is_made_for_each_request(http: httpx2.AsyncClient) -> None:
    answers = [await http.get("/healthz") for _ in range(3)]
    ids = {answer.headers[ID] for answer in answers}
    assert len(ids) == 3
    assert all(MADE.fullmatch(one) for one in ids)


@pytest.mark.parametrize("given", ["job-7:step.2", "a", "7" * 128])
async def test_a_caller_s_own_id_is_taken_over(http: httpx2.AsyncClient, given: str) -> None:
    answer = await http.get("/v1/hosts/nobody", headers={ID: given})
    assert answer.headers[ID] == answer.json()["request_id"] == given


@pytest.mark.parametrize("given", ["", "-a", "a b", "a[31m", "7" * 129, "ü"])
async def test_an_id_that_is_no_plain_word_is_not_repeated(
    http: httpx2.AsyncClient, given: str
) -> None:
    answer = await http.get("/v1/hosts/nobody", headers=[(ID.encode(), given.encode())])
    assert MADE.fullmatch(answer.headers[ID])
    assert answer.json()["request_id"] == answer.headers[ID]
    assert len(answer.headers.get_list(ID)) == 1


async def test_a_refusal_before_any_operation_has_one_too(http: httpx2.AsyncClient) -> None:
    for answer in (await http.get("/nowhere"), await http.put("/healthz")):
        assert answer.json()["request_id"] == answer.headers[ID]


async def test_a_stream_has_one(http: httpx2.AsyncClient) -> None:
    headers = {"accept": "text/event-stream", ID: "follower-1"}
    async with http.stream("GET", "/v1/events", headers=headers) as answer:
        assert answer.headers[ID] == "follower-1"


async def test_a_query_that_cannot_be_read_is_refused_like_any(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/v1/hosts?wait%80=%80&wait")
    assert (answer.status_code, answer.json()["request_id"]) == (422, answer.headers[ID])


@pytest.mark.usefixtures("logs_as_before")
async def test_what_is_logged_meanwhile_has_it(socket_path: Path) -> None:
    stream = io.StringIO()
    logs.configure("info", stream)

    async def broken() -> None:
        raise ZeroDivisionError

    bug = Operation(method="GET", path="/bug", endpoint=broken, answer=None)  # type: ignore[arg-type]
    async with serve(Api([("bugs", (bug,))]), socket_path, group=None), client(socket_path) as http:
        answer = await http.get("/bug", headers={ID: "mine"})
        await http.get("/nowhere")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = {line["event"]: line.get("request_id") for line in lines}
    assert answer.json()["request_id"] == told["bug in a request"] == "mine"
    assert told["listening"] is None


async def test_answers_are_told_by_operation(cloud: Plane, socket_path: Path) -> None:
    told: list[tuple[str, str, int]] = []

    def answered(path: str, method: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        told.append((path, method, status))

    app = build_app(cloud.services, answered=answered)
    body = {"base_image": IMAGE, "agent_id": "a"}
    async with serve(app, socket_path, group=None), client(socket_path) as http:
        await http.get("/v1/hosts/alpha")
        await http.post("/v1/sandboxes", json=body)
        await http.get("/v1/hosts/nobody?x=wait")
        await http.get("/v1/hosts/nobody")
        await http.get("/secret/path")
        await http.put("/healthz")
        made = (await http.post("/v1/sandboxes", json=body)).json()
        await http.get(f"/v1/sandboxes/{made['id']}?wait=0s")
    assert told == [
        ("/v1/hosts/{name}", "GET", 200),
        ("/v1/sandboxes", "POST", 202),
        ("/v1/hosts/{name}", "GET", 422),
        ("/v1/hosts/{name}", "GET", 404),
        ("other", "other", 404),
        ("other", "other", 405),
        ("/v1/sandboxes", "POST", 202),
    ], "what waits takes as long as it is asked to"
