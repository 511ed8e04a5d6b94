"""The journal over HTTP: pages, and a stream that nobody is ever skipped in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from scheduler.api.app import build_app
from scheduler.api.event_stream import QUIET_SECONDS
from scheduler.api.listener import serve
from scheduler.api.protocol import Bounds
from scheduler.model import Event
from scheduler.store import EventFilter, Transaction
from tests.api.conftest import client
from tests.api.test_listener import unread
from tests.clocks import ManualClock
from tests.jumps import in_jumps, pass_time
from tests.service.planes import Plane, database, plane
from tests.service.test_journal import damage
from tests.waits import until

ONLY = "text/event-stream"
STREAM = {"accept": ONLY}
SLOW_S, MARGIN_S = 3600, 600
NOISE = "test.noise"
LENGTH = 2000
PAGE_OF_NOISE = 400
"""More of them than a socket holds."""


async def messages(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, str]]:
    """Parse a stream's messages; comments come as `{"": text}`."""
    message: dict[str, str] = {}
    async for line in lines:
        if not line:
            if message:
                yield message
            message = {}
            continue
        name, _, value = line.partition(":")
        message[name] = value.strip()


async def take(stream: AsyncIterator[dict[str, str]], count: int) -> list[dict[str, Any]]:
    """Return the next events of a stream."""
    taken: list[dict[str, Any]] = []
    async with asyncio.timeout(180):
        async for message in stream:
            if "data" in message:
                taken.append({**message, "data": json.loads(message["data"])})
            if len(taken) == count:
                break
    return taken


async def test_pages_go_on_where_they_ended(http: httpx2.AsyncClient, cloud: Plane) -> None:
    for number in range(3):
        await cloud.create(sandbox_name=f"box-{number}")

    first = (await http.get("/v1/events?limit=2&kind=sandbox.created")).json()
    rest = (await http.get(f"/v1/events?since={first['next_cursor']}&kind=sandbox.created")).json()

    assert [len(first["items"]), len(rest["items"])] == [2, 1]
    assert rest["next_cursor"] is None
    numbers = [event["seq"] for event in first["items"] + rest["items"]]
    assert numbers == sorted(set(numbers))


async def test_events_are_filtered(http: httpx2.AsyncClient, cloud: Plane) -> None:
    await cloud.add_host("beta")
    made = await cloud.create(host="beta")

    of_host = (await http.get("/v1/events?host=beta")).json()["items"]
    of_box = (await http.get(f"/v1/events?sandbox_id={made.id}")).json()["items"]

    assert [event["kind"] for event in of_host] == ["host.added", "sandbox.created"]
    assert [event["kind"] for event in of_box] == ["sandbox.created"]
    assert (await http.get("/v1/events?host=gamma")).status_code == 404


async def test_a_stream_tells_what_was_and_what_comes(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    await cloud.create(sandbox_name="before")
    query = "/v1/events?kind=sandbox.created"
    async with http.stream("GET", query, headers=STREAM) as answer:
        stream = messages(answer.aiter_lines())
        [old] = await take(stream, 1)
        await until(lambda: cloud.journal.waiting > 0)
        made = await cloud.create(sandbox_name="after")
        [new] = await take(stream, 1)

    assert answer.headers["content-type"] == "text/event-stream"
    assert (old["event"], new["data"]["sandbox_id"]) == ("sandbox.created", made.id)
    assert int(new["id"]) == new["data"]["seq"] > int(old["id"])


async def test_a_stream_is_resumed_without_gap_or_repetition(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    made = [await cloud.create(vcpus=1) for _ in range(5)]
    query = "/v1/events?kind=sandbox.created"
    async with http.stream("GET", query, headers=STREAM) as answer:
        seen = await take(messages(answer.aiter_lines()), 2)
    resumed = {**STREAM, "last-event-id": seen[-1]["id"]}
    async with http.stream("GET", query, headers=resumed) as answer:
        seen += await take(messages(answer.aiter_lines()), 3)

    assert [event["data"]["sandbox_id"] for event in seen] == [sandbox.id for sandbox in made]


async def test_a_resumption_from_nonsense_is_refused(http: httpx2.AsyncClient) -> None:
    for given in ("x", "-1", "1" * 30, "\u0661"):
        headers = {**STREAM, "last-event-id": given.encode()}
        answer = await http.get("/v1/events", headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 422


async def test_a_quiet_stream_shows_that_it_lives(
    http: httpx2.AsyncClient, cloud: Plane, clock: ManualClock
) -> None:
    since = await cloud.services.events.latest()
    async with http.stream("GET", f"/v1/events?since={since}", headers=STREAM) as answer:
        lines = answer.aiter_lines()
        begun = [await anext(lines) for _ in range(4)]
        assert begun == [": connected", "", f"id: {since}", ""]
        await until(lambda: cloud.journal.waiting > 0)
        clock.advance(QUIET_SECONDS)
        async with asyncio.timeout(180):
            assert [await anext(lines) for _ in range(2)] == [": quiet", f"id: {since}"]


async def pruned(cloud: Plane, keep: int) -> int:
    """Remove all events but the newest so many; return the highest number that went."""

    def unit(tx: Transaction) -> int:
        tx.outdated.remove(tx.outdated.surplus_events(keep, 1000))
        return tx.events.pruned_through()

    return await cloud.store.submit(unit)


async def test_a_quiet_reader_resumes_beyond_what_did_not_concern_it(
    http: httpx2.AsyncClient, cloud: Plane, clock: ManualClock
) -> None:
    query = "/v1/events?kind=drain."
    async with http.stream("GET", query, headers=STREAM) as answer:
        stream = messages(answer.aiter_lines())
        assert await anext(stream) == {"": "connected"}
        assert await anext(stream) == {"id": "0"}
        for _ in range(5):
            await cloud.create(vcpus=1)
        await until(lambda: cloud.journal.waiting > 0)
        clock.advance(QUIET_SECONDS)
        async with asyncio.timeout(180):
            number = (await anext(stream))["id"]
    gone = await pruned(cloud, keep=1)
    assert gone <= int(number)
    async with http.stream("GET", query, headers={**STREAM, "last-event-id": number}) as answer:
        assert answer.status_code == 200


async def test_whoever_missed_events_is_told_so_rather_than_skipped(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    for _ in range(4):
        await cloud.create(vcpus=1)
    gone = await pruned(cloud, keep=2)
    latest = await cloud.services.events.latest()
    for late, given in ((STREAM, f"since={gone - 1}"), ({}, f"since={gone - 1}"), ({}, "cursor=1")):
        answer = await http.get(f"/v1/events?{given}", headers=late)
        assert (answer.status_code, answer.json()["code"]) == (410, "journal_gap")
        assert answer.json()["pruned_through"] == gone
    answer = await http.get("/v1/events", headers={**STREAM, "last-event-id": str(gone - 1)})
    assert answer.status_code == 410
    answer = await http.get("/v1/events", headers={**STREAM, "last-event-id": str(latest + 1)})
    assert (answer.status_code, answer.json()["latest"]) == (410, latest), "another journal"
    for given in ("since=0", f"since={gone}", "last=1000"):
        kept = (await http.get(f"/v1/events?{given}")).json()["items"]
        assert [event["seq"] for event in kept] == list(range(gone + 1, latest + 1))


async def test_a_reader_too_slow_for_retention_is_let_go(cloud: Plane) -> None:
    first = await cloud.services.events.latest()
    for _ in range(4):
        await cloud.create(vcpus=1)
    follower = cloud.services.events.follow(first, EventFilter(), quiet_seconds=QUIET_SECONDS)
    seen = [event.seq for event in (await anext(follower)).events]
    await cloud.create(vcpus=1)
    await cloud.create(vcpus=1)
    assert await pruned(cloud, keep=1) > seen[-1]
    with pytest.raises(StopAsyncIteration):
        await anext(follower)


async def test_streams_end_when_the_daemon_stops(cloud: Plane, socket_path: Path) -> None:
    async with client(socket_path) as http:
        app = build_app(cloud.services)
        async with serve(app, socket_path, group=None, on_stop=cloud.journal.close):
            request = http.build_request("GET", "/v1/events", headers=STREAM)
            answer = await http.send(request, stream=True)
            await until(lambda: cloud.journal.waiting > 0)
        async with asyncio.timeout(180):
            await answer.aread()
        await answer.aclose()


async def test_whoever_hangs_up_costs_nothing(http: httpx2.AsyncClient, cloud: Plane) -> None:
    async with http.stream("GET", "/v1/events", headers=STREAM):
        await until(lambda: cloud.journal.waiting == 1)
    await until(lambda: cloud.journal.waiting == 0, what="the follower of a gone reader ends")


async def journal(cloud: Plane, count: int) -> None:
    """Write so many events, each of them as long as they get."""
    now = cloud.clock.now()

    def unit(tx: Transaction) -> None:
        for _ in range(count):
            tx.events.add(Event(at=now, kind=NOISE, message="x" * LENGTH))

    await cloud.store.submit(unit)
    cloud.journal.poke()


async def test_whoever_hangs_up_with_a_request_behind_the_stream_costs_nothing_either(
    http: httpx2.AsyncClient, cloud: Plane, socket_path: Path
) -> None:
    """Each left a follower for ever: only the request that waited heard of the end."""
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(socket_path))
            one.sendall(f"GET /v1/events HTTP/1.1\r\nhost: x\r\naccept: {ONLY}\r\n\r\n".encode())
            await until(lambda: cloud.journal.waiting == 1)
            one.sendall(b"POST /v1/hosts/alpha/cordon HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await http.get("/healthz")).status_code == 200
        # While a request waits nothing is read, so that only writing tells of the end.
        for _ in range(5):
            await journal(cloud, 1)
            await http.get("/healthz")
        await until(lambda: cloud.journal.waiting == 0, what="the follower's end")
    assert (await http.get("/v1/hosts/alpha")).json()["state"] == "ACTIVE"


def test_a_reader_that_does_not_read_is_disconnected_and_nobody_else(
    tmp_path: Path, socket_path: Path, clock: ManualClock
) -> None:
    query = f"/v1/events?kind={NOISE}"

    async def test() -> None:
        async with (
            plane(database(tmp_path), clock) as cloud,
            serve(
                build_app(cloud.services),
                socket_path,
                group=None,
                bounds=Bounds(slow_seconds=SLOW_S),
                on_stop=cloud.journal.close,
            ) as listener,
            client(socket_path) as http,
            http.stream("GET", query, headers=STREAM) as answer,
        ):
            stream = messages(answer.aiter_lines())
            with socket.socket(socket.AF_UNIX) as deaf:
                deaf.connect(str(socket_path))
                head = f"GET {query} HTTP/1.1\r\nhost: x\r\naccept: {ONLY}\r\n\r\n"
                deaf.sendall(head.encode())
                await until(lambda: cloud.journal.waiting == 2)
                await journal(cloud, PAGE_OF_NOISE)
                seen = await take(stream, PAGE_OF_NOISE)
                await until(lambda: unread(deaf) > LENGTH, what="as much as it holds")
                await pass_time(SLOW_S - MARGIN_S)
                assert listener.connections == 2
                await pass_time(2 * MARGIN_S)
                await until(lambda: listener.connections == 1, what="the deaf reader's end")
                await until(lambda: cloud.journal.waiting == 1, what="its follower's end")
                await journal(cloud, PAGE_OF_NOISE)
                seen += await take(stream, PAGE_OF_NOISE)
                heard = await asyncio.to_thread(all_of, deaf)
        numbers = [event["data"]["seq"] for event in seen]
        assert numbers == list(range(numbers[0], numbers[0] + 2 * PAGE_OF_NOISE))
        assert 0 < heard.count(b"\nevent: ") < PAGE_OF_NOISE

    in_jumps(test())


async def test_a_reader_that_does_not_read_is_disconnected_where_little_happens(
    http: httpx2.AsyncClient, cloud: Plane, socket_path: Path, clock: ManualClock
) -> None:
    """Comments alone would fill a socket's buffers in nine hours."""
    head = f"GET /v1/events?kind={NOISE} HTTP/1.1\r\nhost: x\r\naccept: {ONLY}\r\n\r\n".encode()

    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(socket_path))
        deaf.sendall(head)
        await until(lambda: cloud.journal.waiting == 1)
        async with http.stream("GET", f"/v1/events?kind={NOISE}", headers=STREAM) as answer:
            stream = messages(answer.aiter_lines())
            await until(lambda: cloud.journal.waiting == 2)
            assert await anext(stream) == {"": "connected"}
            await quiet_for(cloud, clock, stream)
            await until(lambda: cloud.journal.waiting == 2, what="one who rests is borne with")
            await journal(cloud, 1)
            assert len(await take(stream, 1)) == 1
            await until(lambda: cloud.journal.waiting == 2)
            await quiet_for(cloud, clock, stream)
            await until(lambda: cloud.journal.waiting == 2)
            await quiet_for(cloud, clock, stream)
            await until(lambda: cloud.journal.waiting == 1, what="the deaf reader's end")
            await quiet_for(cloud, clock, stream)
            await journal(cloud, 1)
            assert len(await take(stream, 1)) == 1, "who reads is disturbed by nothing"
        heard = await asyncio.to_thread(all_of, deaf)
    assert (heard.count(b"event: "), heard.count(b": quiet")) == (1, 2)


async def quiet_for(
    cloud: Plane, clock: ManualClock, stream: AsyncIterator[dict[str, str]]
) -> None:
    """Let it be quiet for a while, until whoever reads was told so."""
    clock.advance(QUIET_SECONDS)
    async with asyncio.timeout(180):
        while (await anext(stream)).get("") != "quiet":
            pass
    await until(lambda: cloud.journal.waiting > 0)


def all_of(connection: socket.socket) -> bytes:
    """Return what still comes on a connection that was cut off."""
    connection.settimeout(180)
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


async def test_the_newest_few_and_what_follows_a_cursor(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    for number in range(3):
        await cloud.create(sandbox_name=f"box-{number}")
    query = "/v1/events?kind=sandbox.created"
    everything = (await http.get(query)).json()["items"]

    newest = (await http.get(f"{query}&last=2")).json()["items"]
    news = (await http.get(f"{query}&last=0")).json()["items"]
    first = (await http.get(f"{query}&limit=1")).json()
    rest = (await http.get(f"{query}&cursor={first['next_cursor']}")).json()["items"]

    assert newest == everything[1:]
    assert news == []
    assert first["items"] + rest == everything


async def test_news_cut_off_before_any_came_is_resumed_from_where_it_began(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    await cloud.create(sandbox_name="before")
    async with http.stream("GET", "/v1/events?last=0", headers=STREAM) as answer:
        stream = messages(answer.aiter_lines())
        assert await anext(stream) == {"": "connected"}
        begun = await anext(stream)
    assert begun == {"id": str(await cloud.services.events.latest())}
    made = await cloud.create(sandbox_name="meanwhile")
    resumed = {**STREAM, "last-event-id": begun["id"]}
    async with http.stream("GET", "/v1/events?last=0", headers=resumed) as answer:
        [missed] = await take(messages(answer.aiter_lines()), 1)
    assert missed["data"]["sandbox_id"] == made.id


async def test_a_listing_goes_on_behind_an_event_that_cannot_be_read(
    http: httpx2.AsyncClient, cloud: Plane
) -> None:
    await journal(cloud, 5)
    numbers = [one["seq"] for one in (await http.get("/v1/events?limit=1000")).json()["items"]]
    numbers = numbers[-5:]
    await damage(cloud.store, numbers[1], numbers[1])
    listed: list[int] = []
    query: dict[str, str | int] = {"kind": NOISE, "limit": 2}
    while True:
        page = (await http.get("/v1/events", params=query)).json()
        listed += (one["seq"] for one in page["items"])
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert listed == [numbers[0], *numbers[2:]]
