"""The real daemon on a disk that may hang: its store's writer waits for whoever opens a pipe.

`SANDBOXD_HANG` names the pipe. While there is one, the thread that commits is kept in the kernel by
reading from it, as a dead disk would keep it; without one, all is as always.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TypeVar

from scheduler import daemon
from scheduler.clock import Clock
from scheduler.outside import Outside
from scheduler.store import Store, StoreConfig, Transaction
from scheduler.store.committer import Unit

T = TypeVar("T")
PIPE = "SANDBOXD_HANG"


def open_store(
    pipe: Path, config: StoreConfig, *, clock: Clock
) -> AbstractAsyncContextManager[Store]:
    """Open the store whose writer such a pipe keeps waiting."""

    class HangingStore(Store):
        async def submit(self, unit: Unit[T]) -> T:
            return await super().submit(partial(_commit, pipe, unit))

    return HangingStore.open(config, clock=clock)


def _commit(pipe: Path, unit: Unit[T], tx: Transaction) -> T:
    if pipe.exists():
        pipe.read_bytes()
    return unit(tx)


if __name__ == "__main__":
    where = Path(os.environ.pop(PIPE))
    sys.exit(daemon.main(outside=Outside(open_store=partial(open_store, where))))
