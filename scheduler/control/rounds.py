"""A round over the items of a loop's pass: what one of them is refused costs that one only.

`Workers` give each item a task and a pause of its own; a keeper of few things goes from one to the
next, and its period is the pause. A bug still ends the pass, and so does the store when it can do
nothing for anybody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

import structlog

from scheduler.errors import ReadOnly, SandboxdError, Unavailable
from scheduler.statedir import DiskRefused

_log = structlog.get_logger("scheduler.control")


class Item(Protocol):
    """What a round can tell of."""

    @property
    def id(self) -> str:
        """Return what it is called in the log."""
        ...


T = TypeVar("T", bound=Item)


async def each(loop: str, items: Iterable[T], work: Callable[[T], Awaitable[object]]) -> None:
    """Work on one item after the other; one that is refused is told and passed over.

    Where the disk refuses, the first word of it is raised once the others had their turn.
    """
    deferred: DiskRefused | None = None
    for item in items:
        try:
            await work(item)
        except DiskRefused as error:
            deferred = deferred or error
        except (ReadOnly, Unavailable):
            raise
        except SandboxdError as error:
            _log.warning(
                "passed over", loop=loop, key=item.id, code=error.code, error=error.message
            )
    if deferred is not None:
        raise deferred
