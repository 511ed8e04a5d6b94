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
from tests.proof.daemon import START_LIMIT_S


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
        async with asyncio.timeout(START_LIMIT_S):
            async for line in daemon.stderr:
                told = json.loads(line)
                found = told["port"] if told["event"] == "metrics" else found
                if told["event"] == "ready":
                    break
        assert found, "the daemon did not say where its metrics are"
        yield found
    finally:
        daemon.terminate()
        await asyncio.wait_for(daemon.communicate(), START_LIMIT_S)
    assert daemon.returncode == 0


async def get(port: int, path: str) -> tuple[str, bytes]:
    """Return the status line and the body of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), START_LIMIT_S)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode().splitlines()[0], body


async def test_a_daemon_serves_clean_metrics_and_nothing_else(port: int) -> None:
    called = [
        key("host_libvirt_call_duration_seconds_count", host=f"demo-{number}")
        for number in (1, 2, 3)
    ]
    looks = key("libvirt_call_duration_seconds_count", call="inventory")
    # What drivers count is what the page tells, of every host once it was looked at.
    async with asyncio.timeout(START_LIMIT_S):
        status, page = await get(port, "/metrics")
        while read(page)[looks] < 3 or not all(read(page).get(one) for one in called):
            status, page = await get(port, "/metrics")
    series = read(page)
    for number in (1, 2, 3):
        assert key("host_up", host=f"demo-{number}") in series
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
    said, _ = await asyncio.wait_for(promtool.communicate(page), START_LIMIT_S)
    assert (promtool.returncode, said) == (0, b"")
