"""A real daemon's page: found by its log, clean by Prometheus's linter, alone on its port."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.metrics.reading import key, read
from tests.needs import lacking


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    """Run a daemon with simulated hosts and return where its metrics are."""
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scheduler.daemon", "--demo", "--state-dir", str(tmp_path),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert daemon.stderr is not None
    try:
        found = 0
        async with asyncio.timeout(60):
            async for line in daemon.stderr:
                told = json.loads(line)
                found = told["port"] if told["event"] == "metrics" else found
                if told["event"] == "ready":
                    break
        assert found, "the daemon did not say where its metrics are"
        yield found
    finally:
        daemon.terminate()
        await asyncio.wait_for(daemon.communicate(), 60)
    assert daemon.returncode == 0


async def get(port: int, path: str) -> tuple[str, bytes]:
    """Return the status line and the body of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode().splitlines()[0], body


async def test_a_daemon_serves_clean_metrics_and_nothing_else(port: int) -> None:
    hosts = [key("host_up", host=f"demo-{number}") for number in (1, 2, 3)]
    looks = key("libvirt_call_duration_seconds_count", call="inventory")
    async with asyncio.timeout(60):
        status, page = await get(port, "/metrics")
        while not all(host in read(page) for host in hosts) or read(page)[looks] < 3:
            status, page = await get(port, "/metrics")
    series = read(page)
    for number in (1, 2, 3):
        called = key("host_libvirt_call_duration_seconds_count", host=f"demo-{number}")
        assert series[called] > 0, "what drivers count is what the page tells"
    assert series[key("store_transaction_duration_seconds_count", kind="read")] > 0
    assert key("placeable_sandboxes") in series
    assert key("backup_last_success_timestamp_seconds") in series
    assert status == "HTTP/1.1 200 OK"
    assert (await get(port, "/v1/hosts"))[0] == "HTTP/1.1 404 Not Found"
    if shutil.which("promtool") is None:
        lacking("promtool is not installed")
    promtool = await asyncio.create_subprocess_exec(
        "promtool", "check", "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(promtool.communicate(page), 60)
    assert (promtool.returncode, said) == (0, b"")
