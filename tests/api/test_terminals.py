"""Terminals over the socket: opened once, by whom they were promised to, carried byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from scheduler.clock import SystemClock
from scheduler.control.commander import Commander
from scheduler.control.tally import Untold
from scheduler.errors import Conflict, GuestUntrusted
from scheduler.model import SandboxState
from scheduler.service.requests import TerminalWindow
from tests.guests.house import GuestHouse, guest_house
from tests.service.planes import Plane

WINDOW = {"columns": 132, "rows": 43}
FLOOD = 3_000_000
KEPT = 1 << 20


@dataclass
class Desk:
    """A running sandbox, and a client who sits down at terminals in it."""

    cloud: Plane
    http: httpx2.AsyncClient
    house: GuestHouse
    socket: Path

    async def asked(self, *argv: str, **fields: object) -> str:
        body = {"argv": list(argv), "terminal": WINDOW, **fields}
        answer = await self.http.post("/v1/sandboxes/box/commands", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    @asynccontextmanager
    async def carried_out(self, command_id: str) -> AsyncIterator[None]:
        """Have the command run as the daemon's loop does, to its end when the block is left."""
        commander = Commander(
            self.cloud.store,
            SystemClock(),
            guests=self.house,
            errands=self.cloud.errands,
            tally=Untold(),
            told=self.cloud.journal.poke,
        )
        work = asyncio.ensure_future(commander.carry_out(command_id))
        try:
            yield
            await asyncio.wait_for(work, 180)
        finally:
            work.cancel()

    async def opened(self, command_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(self.socket)
        head = f"GET /v1/commands/{command_id}/terminal HTTP/1.1\r\nHost: x\r\n"
        writer.write(f"{head}Connection: upgrade\r\nUpgrade: sandboxd-tunnel\r\n\r\n".encode())
        return reader, writer

    async def record(self, command_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/commands/{command_id}")
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def desk(http: httpx2.AsyncClient, cloud: Plane, socket_path: Path) -> AsyncIterator[Desk]:
    made = await cloud.create(sandbox_name="box")
    states = (SandboxState.STARTING, SandboxState.RUNNING)
    await cloud.become(made, *states, address="192.0.2.7")
    async with guest_house() as house:
        yield Desk(cloud, http, house, socket_path)


async def seen(reader: asyncio.StreamReader, text: bytes) -> bytes:
    return await asyncio.wait_for(reader.readuntil(text), 180)


async def test_a_program_has_a_terminal_from_its_beginning_to_its_end(desk: Desk) -> None:
    line = 'stty size; echo "$TERM ${#LONG}"; read x; stty size; echo "<$x>"; exit 7'
    command = await desk.asked("sh", "-c", line, env={"LONG": "x" * 9000})
    async with desk.carried_out(command):
        reader, writer = await desk.opened(command)
        assert (await seen(reader, b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        # The line that brought the environment is neither shown nor cut.
        assert await seen(reader, b"9000\r\n") == b"43 132\r\nxterm 9000\r\n"
        sized = await desk.http.put(
            f"/v1/commands/{command}/window", json={"columns": 90, "rows": 30}
        )
        assert (sized.status_code, sized.json()["status"]) == (200, "RUNNING")
        writer.write(b"typed\r")
        assert await reader.read() == b"typed\r\n30 90\r\n<typed>\r\n"
        writer.close()
    record = await desk.record(command)
    assert (record["status"], record["exit_code"]) == ("EXITED", 7)
    assert record["metadata"]["terminal"]
    assert record["metadata"]["timeout"] == 86400
    assert record["stdout"].endswith("<typed>\r\n")


async def test_all_is_shown_and_no_secret_kept_nor_more_than_may_be(desk: Desk) -> None:
    line = f'echo "$SECRET"; head -c {FLOOD} /dev/zero'
    command = await desk.asked("sh", "-c", line, secret_env={"SECRET": "correct horse"})
    async with desk.carried_out(command):
        reader, writer = await desk.opened(command)
        await seen(reader, b"\r\n\r\n")
        assert await reader.read() == b"correct horse\r\n" + bytes(FLOOD)
        writer.close()
    record = await desk.record(command)
    assert record["stdout"].startswith("[redacted:named]\r\n")
    assert (len(record["stdout"]), record["truncated"]) == (KEPT, True)
    assert record["stdout_bytes"] == FLOOD + len(b"correct horse\r\n")


async def test_a_terminal_that_is_closed_ends_what_runs_on_it(desk: Desk) -> None:
    command = await desk.asked("sh", "-c", "trap '' HUP; echo up; sleep 1000")
    async with desk.carried_out(command):
        reader, writer = await desk.opened(command)
        await seen(reader, b"up\r\n")
        writer.transport.abort()
    record = await desk.record(command)
    assert (record["status"], record["kill_unconfirmed"]) == ("INTERRUPTED", False)
    assert record["reason"] == "its terminal was closed; nothing of it runs any more"


async def test_a_terminal_is_its_callers_once_and_closed_when_the_command_is_over(
    desk: Desk,
) -> None:
    command = await desk.asked("sh", "-c", "echo up; sleep 1000")
    async with desk.carried_out(command):
        reader, writer = await desk.opened(command)
        await seen(reader, b"up\r\n")
        # It is opened once, and takes no other input.
        second, second_writer = await desk.opened(command)
        assert (await second.readline()).startswith(b"HTTP/1.1 409 ")
        second_writer.close()
        fed = await desk.http.put(f"/v1/commands/{command}/input", content=b"x")
        assert fed.status_code == 409
        window = TerminalWindow(columns=1, rows=1)
        with pytest.raises(Conflict, match="no terminal of yours"):
            await desk.cloud.services.terminals.resize(command, window, "uid:1")
        # As a guest's own end does.
        desk.house.cut()
        assert await reader.read() == b""
        writer.close()
    assert (await desk.record(command))["status"] == "INTERRUPTED"


async def test_the_end_of_the_daemon_closes_terminals_and_opens_no_more(desk: Desk) -> None:
    command, other = await desk.asked("sh", "-c", "echo up; cat"), await desk.asked("cat")
    async with desk.carried_out(command):
        reader, writer = await desk.opened(command)
        await seen(reader, b"up\r\n")
        desk.cloud.services.terminals.close()
        assert await reader.read() == b""
        writer.close()
        reader, writer = await desk.opened(other)
        assert (await reader.readline()).startswith(b"HTTP/1.1 409 ")
        writer.close()


async def test_one_whose_guest_is_not_reached_is_refused_and_its_record_says_why(
    desk: Desk,
) -> None:
    desk.house.closed_by = GuestUntrusted("who answers did not prove to be it", remedy="look")
    command = await desk.asked("cat")
    async with desk.carried_out(command):
        reader, writer = await desk.opened(command)
        assert (await reader.readline()).startswith(b"HTTP/1.1 409 ")
        await seen(reader, b"before it had its terminal")
        writer.close()
    assert "nothing was run" in (await desk.record(command))["reason"]


async def test_what_is_no_terminal_is_refused_and_says_why(desk: Desk) -> None:
    plain = (await desk.http.post("/v1/sandboxes/box/commands", json={"argv": ["cat"]})).json()
    for method, path, body, status in (
        ("GET", f"/v1/commands/{plain['id']}/terminal", None, 426),
        ("GET", "/v1/commands/CMD-00000000000000000000000000/terminal", None, 426),
        ("PUT", f"/v1/commands/{plain['id']}/window", WINDOW, 409),
        ("PUT", "/v1/commands/CMD-00000000000000000000000000/window", WINDOW, 404),
        ("PUT", f"/v1/commands/{plain['id']}/window", {"columns": 0, "rows": 1}, 422),
    ):
        answer = await desk.http.request(method, path, json=body)
        assert answer.status_code == status, answer.text
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"script": "x"}, "another one is asked for"),
        ({"stdin_follows": True}, "another one is asked for"),
        ({"stdin_base64": ""}, "another one is asked for"),
        ({"terminal": {**WINDOW, "type": "x y"}}, "terminal.type"),
        ({"terminal": {"columns": 80}}, "terminal.rows"),
    )
    for fields, fault in refused:
        asked = {"argv": ["cat"], "terminal": WINDOW, **fields}
        answer = await desk.http.post("/v1/sandboxes/box/commands", json=asked)
        assert (answer.status_code, fault in answer.text) == (422, True), answer.text
