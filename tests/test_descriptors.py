"""A shortage of descriptors is told once; everything else goes the event loop's usual way."""

from __future__ import annotations

import asyncio
import errno
import logging

import pytest
from structlog.testing import capture_logs

from scheduler.descriptors import QUIET_SECONDS, Shortage
from tests.clocks import ManualClock

SHORT = {"exception": OSError(errno.EMFILE, "Too many open files"), "socket": object()}


async def test_a_shortage_is_told_once_however_long_it_lasts() -> None:
    clock, loop = ManualClock(), asyncio.get_running_loop()
    shortage = Shortage(clock)
    with capture_logs() as logs:
        for _ in range(1000):
            shortage.handle(loop, SHORT)
            clock.advance(1)
    (told,) = logs
    assert (told["log_level"], told["error"]) == ("error", "[Errno 24] Too many open files")
    assert "LimitNOFILE" in told["remedy"]
    clock.advance(QUIET_SECONDS)
    with capture_logs() as logs:
        shortage.handle(loop, SHORT)
        shortage.handle(loop, SHORT)
    assert len(logs) == 1


@pytest.mark.parametrize(
    "context",
    [
        {"message": "boom", "exception": ZeroDivisionError("boom")},
        {"message": "boom", "exception": OSError(errno.EPIPE, "boom"), "socket": object()},
        {"message": "boom", "exception": OSError(errno.EMFILE, "boom")},
        {"message": "boom"},
    ],
)
async def test_everything_else_is_told_as_always(
    context: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="asyncio"):
        Shortage(ManualClock()).handle(asyncio.get_running_loop(), context)
    assert "boom" in caplog.text
