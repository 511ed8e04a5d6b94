"""Time of an event loop that is put on: what waits for long ends at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

_TURNS = 20
"""As many as it takes for one thing to lead to the next."""


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose own time, by which timers and timeouts end, can be put on."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        super().__init__()

    def time(self) -> float:
        return super().time() + self._ahead_s

    def jump(self, seconds: float) -> None:
        """Let so much time be over."""
        self._ahead_s += seconds


def in_jumps(test: Coroutine[Any, Any, None]) -> None:
    """Run a test that puts time on."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(test)


async def pass_time(seconds: float) -> None:
    """Let so much time be over after all that is on its way, and what was to come by then come.

    Real time passes as well: what must not have happened yet needs minutes of margin, not seconds.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, JumpingLoop)
    await _turns()
    loop.jump(seconds)
    await _turns()


async def put_on(seconds: float) -> None:
    """Let so much time be over as `pass_time` does, for the event loop that pytest has made."""
    loop = asyncio.get_running_loop()
    now = loop.time
    await _turns()
    loop.time = lambda: now() + seconds  # type: ignore[method-assign]
    await _turns()


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
