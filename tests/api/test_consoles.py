"""The console over HTTP: as text and byte for byte, with what is known of how it was heard."""

from __future__ import annotations

from base64 import b64decode

import httpx2

from scheduler.model import Console, ConsoleGap, SandboxState
from tests.clocks import START
from tests.service.planes import Plane
from tests.store.samples import later

PRINTED = b"\x1b[1mboot\x1b[0m \xff login:\r\n"


async def test_what_is_kept_is_shown_by_name_and_by_id(
    cloud: Plane, http: httpx2.AsyncClient
) -> None:
    sandbox = await cloud.create(sandbox_name="web")
    console = Console(
        sandbox_id=sandbox.id,
        boot_at=START,
        begun_at=later(1),
        printed=PRINTED,
        dropped_bytes=70,
        gaps=(ConsoleGap(offset=72, at=later(2), why="the guest was started again"),),
        updated_at=later(3),
    )
    await cloud.store.submit(lambda tx: tx.consoles.put(console))
    for reference in ("web", sandbox.id):
        answer = await http.get(f"/v1/sandboxes/{reference}/console")
        assert answer.status_code == 200
        found = answer.json()
        assert found["text"] == "\x1b[1mboot\x1b[0m \ufffd login:\r\n"
        assert b64decode(found["data"]) == PRINTED
        assert (found["dropped_bytes"], found["ended_at"], found["reason"]) == (70, None, None)
        assert found["gaps"] == [
            {"offset": 72, "at": "2026-01-05T12:00:02Z", "why": "the guest was started again"}
        ]
        assert found["begun_at"] == "2026-01-05T12:00:01Z"
    await cloud.bury(await cloud.store.read(lambda tx: tx.sandboxes.get(sandbox.id)))
    kept = await http.get(f"/v1/sandboxes/{sandbox.id}/console")
    assert kept.json()["data"] == found["data"]


async def test_where_there_is_none_a_remedy_is_named(
    cloud: Plane, http: httpx2.AsyncClient
) -> None:
    sandbox = await cloud.create(sandbox_name="web")
    coming = await http.get("/v1/sandboxes/web/console")
    assert coming.status_code == 404
    assert "no console is kept of sandbox web" in coming.json()["detail"]
    assert "sandboxctl console web --follow" in coming.json()["remediation"]
    await cloud.become(sandbox, SandboxState.STARTING, SandboxState.RUNNING)
    up = await http.get("/v1/sandboxes/web/console")
    assert "guests.console" in up.json()["remediation"]
    assert (await http.get("/v1/sandboxes/nobody/console")).status_code == 404
