"""What is refused or cut off is refused before anything is done, and asks for no defaults."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import httpx2
import pytest

from scheduler.api.app import build_app
from scheduler.api.listener import serve
from scheduler.api.protocol import Bounds
from scheduler.model import HostState
from scheduler.store import EventFilter
from tests.service.planes import IMAGE, Plane
from tests.waits import until

BODY = {"base_image": IMAGE, "agent_id": "agent-1"}
DRAIN = b'{"policy":"expire","deadline_seconds":null,"on_deadline":"keep"}'
HEAD = (
    b"POST /v1/hosts/alpha/drain HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(DRAIN)
)


@pytest.mark.parametrize("sent", [HEAD, HEAD + DRAIN[:9]])
async def test_a_request_whose_body_is_cut_off_is_not_carried_out(
    cloud: Plane, socket_path: Path, sent: bytes
) -> None:
    """Without its body it would be one with the defaults: a drain that destroys."""
    app = build_app(cloud.services)
    async with serve(app, socket_path, group=None, on_stop=cloud.journal.close) as listener:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(socket_path))
            one.sendall(sent)
            await until(lambda: listener.connections == 1)
        await until(lambda: listener.connections == 0)
    # What was being answered has ended by now, as the listener waits for it.
    assert (await cloud.services.hosts.get("alpha")).state is HostState.ACTIVE
    assert not await drains(cloud)


async def test_a_request_whose_body_does_not_come_is_not_carried_out(
    cloud: Plane, socket_path: Path
) -> None:
    bounds = Bounds(request_seconds=0.1)
    app = build_app(cloud.services)
    async with serve(app, socket_path, group=None, bounds=bounds, on_stop=cloud.journal.close):
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(socket_path))
            one.sendall(HEAD)
            one.settimeout(180)
            said = await asyncio.to_thread(one.recv, 4096)
            assert b" 200 " not in said, "it was hung up on"
    assert (await cloud.services.hosts.get("alpha")).state is HostState.ACTIVE
    assert not await drains(cloud)


async def drains(cloud: Plane) -> bool:
    """Return whether any drain was ever begun."""
    events = await cloud.store.read(lambda tx: tx.events.find(0, EventFilter()))
    return any("drain" in event.kind for event in events)


async def test_a_wait_that_is_too_long_is_refused_before_anything_is_done(
    http: httpx2.AsyncClient,
) -> None:
    key = {"Idempotency-Key": "k"}
    refused = await http.post("/v1/sandboxes?wait=400s", json=BODY, headers=key)
    assert refused.status_code == 422
    assert "query.wait" in refused.text
    assert "longer than 300 s" in refused.text
    assert (await http.get("/v1/sandboxes")).json()["items"] == []
    made = (await http.post("/v1/sandboxes?wait=0ms", json=BODY, headers=key)).json()
    again = await http.post("/v1/sandboxes?wait=0s", json=BODY, headers=key)
    assert again.json()["id"] == made["id"], "how long to wait is no part of what is asked for"
    path = f"/v1/sandboxes/{made['id']}"
    assert (await http.delete(f"{path}?wait=10m")).status_code == 422
    assert (await http.get(path)).json()["desired_state"] == "RUNNING"


async def test_a_query_that_must_be_given_is_asked_for(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    made = (await http.post("/v1/sandboxes", json=BODY)).json()
    upgrade = {"Upgrade": "sandboxd-tunnel", "Connection": "upgrade"}
    refused = await http.get(f"/v1/sandboxes/{made['id']}/tunnel", headers=upgrade)
    assert refused.status_code == 422
    assert "query.certificate" in refused.text
