"""Commands over HTTP: refusals that say why, answers kept for their key, output in exact bytes."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import replace

import httpx2

from scheduler.model import Command, CommandStatus, Sandbox, SandboxState
from scheduler.model.commands import text_of
from tests.service.planes import Plane

STARTING, RUNNING = SandboxState.STARTING, SandboxState.RUNNING
BYTES = bytes(range(256)) * 300


async def box(cloud: Plane) -> Sandbox:
    made = await cloud.create(sandbox_name="box")
    return await cloud.become(made, STARTING, RUNNING, address="192.0.2.7")


async def ended(cloud: Plane, command_id: str, **how: object) -> Command:
    """Record an end, as the loop does."""
    before = await cloud.services.commands.get(command_id)
    done = replace(before, **{"status": CommandStatus.EXITED, "exit_code": 0, **how})  # type: ignore[arg-type]
    done = replace(done, ended_at=cloud.clock.now())
    cloud.errands.drop(command_id)
    return await cloud.store.submit(lambda tx: tx.commands.finish(done))


async def test_a_command_is_accepted_once_for_its_key(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    sandbox = await box(cloud)
    body = {"argv": ["sh", "-c", "echo $A"], "env": {"A": "b"}, "secret_env": {"B": "secret"}}
    path, key = "/v1/sandboxes/box/commands", {"idempotency-key": "one"}
    first = await http.post(path, json=body, headers=key)
    again = await http.post(path, json=body, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    command = first.json()
    assert first.headers["location"] == f"/v1/commands/{command['id']}"
    assert (command["status"], command["exit_code"]) == ("RUNNING", None)
    assert (command["sandbox_id"], command["env_json"]) == (sandbox.id, '["A", "B"]')
    assert command["metadata"]["redacted"] == {"env.B": "named"}
    assert "secret" not in first.text.replace("secret_env", "")
    assert cloud.woken.count(command["id"]) == 1
    listed = (await http.get("/v1/sandboxes/box/commands")).json()["items"]
    assert [one["id"] for one in listed] == [command["id"]]


async def test_output_is_streamed_in_exact_bytes_from_where_the_reader_was(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    await box(cloud)
    command = (await http.post("/v1/sandboxes/box/commands", json={"argv": ["x"]})).json()
    path = f"/v1/commands/{command['id']}"
    await ended(cloud, command["id"], stdout=text_of(BYTES), stderr="e", stdout_bytes=len(BYTES))
    shown = (await http.get(path)).json()
    assert (len(shown["stdout"]) > 0, shown["stderr"]) == (True, "e")
    for after, want in (("0-0", BYTES), (f"{len(BYTES) - 3}-1", BYTES[-3:])):
        for told in (
            await http.get(f"{path}/output", params={"after": after}),
            await http.get(f"{path}/output", headers={"last-event-id": after}),
        ):
            assert told.headers["content-type"] == "text/event-stream"
            out = b"".join(data for stream, data in pieces(told.text) if stream == "stdout")
            assert out == want
            assert told.text.rstrip().splitlines()[-2] == "event: end"
    listed = (await http.get("/v1/sandboxes/box/commands")).json()["items"]
    assert (listed[0]["stdout"], listed[0]["stdout_bytes"]) == ("", len(BYTES))


def pieces(text: str) -> list[tuple[str, bytes]]:
    documents = [
        json.loads(line.removeprefix("data: "))
        for line in text.splitlines()
        if line.startswith("data: ")
    ]
    return [(one["stream"], b64decode(one["data"])) for one in documents if "stream" in one]


async def test_what_is_refused_says_why(http: httpx2.AsyncClient, cloud: Plane) -> None:
    sandbox = await cloud.create(sandbox_name="box")
    path = "/v1/sandboxes/box/commands"
    early = await http.post(path, json={"argv": ["true"]})
    assert (early.status_code, early.json()["state"]) == (409, "CREATED")
    await cloud.become(sandbox, STARTING, RUNNING, address="192.0.2.7")
    for body, fault in (
        ({}, "not said what to run"),
        ({"argv": []}, "argv"),
        ({"argv": ["-x"]}, "dash"),
        ({"argv": ["x"], "env": {"PPID": "1"}}, "PPID"),
        ({"argv": ["x"], "redact": ["abc"]}, "ordinary text"),
        ({"argv": ["x"], "env": {"A": "bcde"}, "secret_env": {"A": "bcde"}}, "in env too"),
        ({"argv": ["x"], "stdin_base64": "A"}, "not base64"),
        ({"script": "x", "stdin_base64": b64encode(b"x").decode()}, "standard input"),
        ({"argv": ["x"], "timeout_seconds": 86401}, "at most 86400 s"),
        ({"argv": ["x"], "user": "-x"}, "Unix user"),
    ):
        answer = await http.post(path, json=body)
        assert answer.status_code == 422, answer.text
        assert fault in answer.text, answer.text
    assert (await http.get("/v1/commands/CMD-00000000000000000000000000")).status_code == 404
    assert (await http.get(f"{path}?limit=0")).status_code == 422
    for _ in range(8):
        assert (await http.post(path, json={"argv": ["true"]})).status_code == 202
    full = await http.post(path, json={"argv": ["true"]})
    assert (full.status_code, full.json()["code"]) == (429, "quota_exceeded")


async def test_a_command_is_ended_and_waited_for(http: httpx2.AsyncClient, cloud: Plane) -> None:
    sandbox = await box(cloud)
    command = (await http.post("/v1/sandboxes/box/commands", json={"script": "x"})).json()
    path = f"/v1/commands/{command['id']}"
    killed = await http.post(f"{path}/kill", params={"wait": "0s"})
    assert (killed.status_code, killed.json()["status"]) == (202, "RUNNING")
    await ended(cloud, command["id"], status=CommandStatus.KILLED, exit_code=None)
    waited = await http.get(path, params={"wait": "30s"})
    assert waited.json()["status"] == "KILLED"
    again = await http.post(f"{path}/kill", params={"wait": "1s"})
    assert (again.status_code, again.json()["kill_requested_at"] is None) == (200, False)
    bad = await http.get(f"{path}/output", headers={"last-event-id": "x"})
    assert bad.status_code == 422
    await cloud.bury(sandbox)
    assert len((await http.get(f"/v1/sandboxes/{sandbox.id}/commands")).json()["items"]) == 1
    gone = await http.post(f"/v1/sandboxes/{sandbox.id}/commands", json={"argv": ["x"]})
    assert gone.status_code == 409
