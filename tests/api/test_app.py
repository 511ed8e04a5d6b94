"""The application as a whole: its document, its health, its refusals."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from scheduler.api.problems import Problems
from scheduler.errors import HostTimeout, SandboxdError, Unavailable
from scheduler.release import installed
from tests.service.planes import IMAGE, Plane


async def test_the_document_describes_every_path(http: httpx2.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()

    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) >= {
        "/v1/sandboxes",
        "/v1/sandboxes/{reference}",
        "/v1/sandboxes/{reference}/start",
        "/v1/sandboxes/{reference}/stop",
        "/v1/sandboxes/{reference}/retry",
        "/v1/sandboxes/{reference}/extend",
        "/v1/sandboxes/{reference}/move",
        "/v1/sandboxes/{reference}/ip",
        "/v1/sandboxes/{reference}/decision",
        "/v1/hosts",
        "/v1/hosts/{name}",
        "/v1/hosts/{name}/cordon",
        "/v1/hosts/{name}/uncordon",
        "/v1/hosts/{name}/drain",
        "/v1/hosts/{name}/drain/abort",
        "/v1/hosts/{name}/drain/undo",
        "/v1/placements/explain",
        "/v1/capacity",
        "/v1/decisions/{reference}",
        "/v1/events",
        "/v1/version",
        "/healthz",
        "/readyz",
    }


async def test_the_release_that_answers_is_told(http: httpx2.AsyncClient) -> None:
    told = (await http.get("/v1/version")).json()
    assert told == {"version": installed().version, "revision": installed().revision}


async def test_bodies_that_are_no_json_are_described_as_what_they_are(
    http: httpx2.AsyncClient,
) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    for path in ("/v1/images/{image}/content", "/v1/commands/{command}/input"):
        taken = paths[path]["put"]["requestBody"]
        assert (taken["required"], list(taken["content"])) == (True, ["application/octet-stream"])
    for path, kinds in (
        ("/v1/commands/{command}/output", ["text/event-stream"]),
        ("/v1/events", ["application/json", "text/event-stream"]),
        ("/v1/change-sets/{id}/archive", ["application/gzip"]),
    ):
        assert sorted(paths[path]["get"]["responses"]["200"]["content"]) == kinds


async def test_a_problem_s_members_are_described(http: httpx2.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    refused = paths["/v1/sandboxes"]["post"]["responses"]["default"]
    described = refused["content"]["application/problem+json"]["schema"]["properties"]
    answer = (await http.post("/v1/sandboxes", json={"agent_id": "a"})).json()
    assert set(answer) <= set(described)
    assert set(answer["errors"][0]) == set(described["errors"]["items"]["properties"])
    assert {"retry_after", "decision_id"} <= set(described)
    assert "Retry-After" in refused["headers"]


async def test_every_reference_of_the_document_leads_somewhere(http: httpx2.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    operations: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "operationId" in node:
                operations.append(node["operationId"])
                assert node["summary"] or node["description"]
            if isinstance(reference := node.get("$ref"), str):
                target = document
                for part in reference.removeprefix("#/").split("/"):
                    target = target[part]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)
    assert len(operations) == len(set(operations)) > 20
    create = document["components"]["schemas"]["CreateSandbox"]
    assert create["required"] == ["agent_id"]
    assert create["additionalProperties"] is False


async def test_nothing_comes_from_elsewhere(http: httpx2.AsyncClient) -> None:
    for path in ("/docs", "/redoc"):
        assert (await http.get(path)).status_code == 404


async def test_a_wrong_method_is_told_the_right_ones(http: httpx2.AsyncClient) -> None:
    for method, path, allowed in (
        ("PUT", "/v1/sandboxes", "GET, POST"),
        ("PATCH", "/v1/sandboxes/x", "DELETE, GET"),
        ("PUT", "/v1/hosts/alpha", "DELETE, GET, PATCH"),
        ("DELETE", "/v1/hosts/alpha/drain", "GET, POST"),
        ("POST", "/healthz", "GET"),
    ):
        answer = await http.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert answer.json()["code"] == "method_not_allowed"
        assert answer.headers["content-type"] == "application/problem+json"


async def test_health_and_readiness(http: httpx2.AsyncClient, missing: list[str]) -> None:
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/readyz")).json() == {"status": "ready"}
    missing.append("the poll loop")
    not_ready = await http.get("/readyz")
    assert (not_ready.status_code, not_ready.json()["missing"]) == (503, ["the poll loop"])
    assert (await http.get("/healthz")).status_code == 200


async def test_an_explanation_weighs_every_host(http: httpx2.AsyncClient, cloud: Plane) -> None:
    await cloud.add_host("beta", cpus=1)

    told = (await http.post("/v1/placements/explain", json={"base_image": IMAGE})).json()

    assert (told["outcome"], told["chosen"][0]["host_name"]) == ("placed", "alpha")
    assert [(host["host_name"], host["eligible"]) for host in told["hosts"]] == [
        ("alpha", True),
        ("beta", False),
    ]
    assert told["hosts"][1]["refused"] == ["cpu"]


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (HostTimeout("the host does not answer", remedy="wait"), 504, None),
        (Unavailable("busy", remedy="again"), 503, "5"),
        (SandboxdError("odd"), 500, None),
    ],
)
async def test_errors_become_problems(
    error: SandboxdError, status: int, retry_after: str | None
) -> None:
    answer = await _raised(error)
    assert (answer.status_code, answer.json()["code"]) == (status, error.code)
    assert answer.headers.get("retry-after") == retry_after


async def test_a_bug_tells_nothing_of_the_inside() -> None:
    answer = await _raised(ZeroDivisionError("secret"))

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text


async def test_a_bug_after_the_answer_began_is_left_to_the_server() -> None:
    async def begun(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    transport = httpx2.ASGITransport(app=Problems(begun, lambda _path: ()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
        with pytest.raises(ZeroDivisionError):
            await http.get("/")


async def test_whoever_hangs_up_gets_no_answer() -> None:
    async def hung_up(scope: Scope, receive: Receive, send: Send) -> None:
        raise ClientDisconnect

    async def unused(_message: Message) -> None:
        raise AssertionError

    async def nothing() -> Message:
        raise AssertionError

    await Problems(hung_up, lambda _path: ())({"type": "http"}, nothing, unused)


async def _raised(error: Exception) -> httpx2.Response:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    transport = httpx2.ASGITransport(app=Problems(fail, lambda _path: ()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
        return await http.get("/")
