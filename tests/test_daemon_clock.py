"""The daemon looks at the clock before anybody can ask it for anything (I10)."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scheduler import daemon
from scheduler.api.app import build_app
from scheduler.clock import SystemClock
from scheduler.config import load
from scheduler.notify import Notifier
from scheduler.outside import Outside
from tests.waits import until


async def test_i10_the_clock_is_looked_at_before_anybody_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[metrics]\nenabled = false\n")
    settings = load(config, state_dir=tmp_path / "state", environ={})
    settings.state_dir.mkdir()
    kept: list[tuple[str]] = []

    def asked(*arguments: Any, **more: Any) -> Any:
        with closing(sqlite3.connect(settings.state_dir / "sandboxd.db")) as database:
            kept.extend(database.execute("SELECT value FROM settings WHERE key = 'clock.boot_id'"))
        return build_app(*arguments, **more)

    monkeypatch.setattr(daemon, "build_app", asked)
    stop = asyncio.Event()
    running = asyncio.create_task(
        daemon.run(settings, Outside(), stop=stop, notifier=Notifier({}), demo=False)
    )
    await until(lambda: running.done() or bool(kept), seconds=180)
    stop.set()
    async with asyncio.timeout(240):
        await running
    assert kept == [(SystemClock().boot_id,)]
