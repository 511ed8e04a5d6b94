"""The real daemon with a fuse at every place where it makes something durable.

Between two such places nothing happens that anybody could see, so these are all the moments at
which a death can make a difference: before and after each commit, each host call that changes
something, each statement of a migration and each file that is put in place. They are found in the
daemon's own parts as it runs, not marked in its code: a new step is a new point by itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, event

from scheduler import daemon
from scheduler.clock import Clock, SystemClock
from scheduler.guests.dialling import Connection as Way
from scheduler.hosts.driver import HostDriver
from scheduler.hosts.drivers import Drivers
from scheduler.hosts.marks import Keyring
from scheduler.model import HostResources
from scheduler.outside import Outside
from scheduler.store import Store, StoreConfig, Transaction
from scheduler.store.committer import Unit
from tests.faults.fuse import Fuse

T = TypeVar("T")

LOOKS = frozenset(
    {
        *("inventory", "domain", "volume", "read_volume", "users_of"),
        *("inspect_base", "addresses", "live_layer", "settled_layer", "aclose"),
        *("foreign_machine", "listen"),
    }
)
"""Host calls that change nothing."""
STATE = "state"
"""The daemon's state directory, within the fuse's."""
CLOCK_STEP = "clock-step"
"""Seconds by which the daemon's wall clock is off, in a file of the fuse's directory."""
_DDL = ("CREATE", "ALTER", "DROP")


def point_of(unit: Callable[..., object]) -> str:
    """The name of a commit: the module and the function that writes it, as in `records.bury`."""
    while hasattr(unit, "__wrapped__") or isinstance(unit, partial):
        unit = unit.__wrapped__ if hasattr(unit, "__wrapped__") else unit.func
    function = unit.__qualname__.partition(".<locals>")[0].rpartition(".")[2]
    return f"{unit.__module__.rpartition('.')[2]}.{function.lstrip('_')}"


def mortal_store(fuse: Fuse) -> type[Store]:
    """A store that reaches a point before and after each commit."""

    class MortalStore(Store):
        async def submit(self, unit: Unit[T]) -> T:
            point = point_of(unit)

            def written(tx: Transaction) -> T:
                result = unit(tx)
                fuse.reached(f"{point}.before")
                return result

            result = await super().submit(written)
            fuse.reached(f"{point}.after")
            return result

    return MortalStore


class MortalDriver:
    """A host's driver that reaches a point before and after each call that changes something."""

    def __init__(self, driver: HostDriver, fuse: Fuse) -> None:
        self._driver = driver
        self._fuse = fuse

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(self._driver, verb)
        return call if verb in LOOKS else partial(self._call, verb, call)

    async def _call(
        self, verb: str, call: Callable[..., Any], *arguments: object, **options: object
    ) -> Any:
        self._fuse.reached(f"host.{verb}.before")
        answer = await call(*arguments, **options)
        self._fuse.reached(f"host.{verb}.after")
        return answer


class MortalDrivers:
    """The way to every host, through such a driver."""

    def __init__(self, drivers: Drivers, fuse: Fuse) -> None:
        self._drivers = drivers
        self._fuse = fuse
        self.calls = drivers.calls

    def get(self, host: HostResources) -> HostDriver:
        return cast(HostDriver, MortalDriver(self._drivers.get(host), self._fuse))

    async def jump(self, host: HostResources) -> Way | None:
        return await self._drivers.jump(host)

    async def forget(self, host_id: str) -> None:
        await self._drivers.forget(host_id)


class Migration:
    """A migration's points: before each statement, before its commit, and after it."""

    def __init__(self, fuse: Fuse) -> None:
        self._fuse = fuse
        self._begun = False
        event.listen(Engine, "before_cursor_execute", self._statement)
        event.listen(Engine, "commit", self._commit)

    def ended(self) -> None:
        """Say that the schema is as it should be."""
        if self._begun:
            self._begun = False
            self._fuse.reached("migration.after")

    def _statement(self, _connection: Connection, _cursor: object, text: str, *_: object) -> None:
        if text.lstrip().upper().startswith(_DDL):
            self._begun = True
            self._fuse.reached("migration.statement.before")

    def _commit(self, _connection: Connection) -> None:
        if self._begun:
            self._fuse.reached("migration.before")


class SteppedClock(SystemClock):
    """The machine's clocks, set and put to sleep by whoever writes the file."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / CLOCK_STEP

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=sum(self._moved()))

    def boottime(self) -> float:
        return super().boottime() + self._moved()[1]

    def _moved(self) -> tuple[float, float]:
        step, slept = map(float, self._file.read_text().split())
        return step, slept


def outside(directory: Path) -> Outside:
    """What the daemon reaches the world through, fused."""
    fuse = Fuse(directory)
    migration = Migration(fuse)
    sys.addaudithook(partial(_file_put_in_place, fuse, directory / STATE))

    @asynccontextmanager
    async def open_store(config: StoreConfig, *, clock: Clock) -> AsyncIterator[Store]:
        async with mortal_store(fuse).open(config, clock=clock) as store:
            migration.ended()
            yield store

    @asynccontextmanager
    async def open_drivers(
        state_dir: Path, keyring: Keyring, clock: Clock, on_hint: Callable[[str], None]
    ) -> AsyncIterator[MortalDrivers]:
        async with Drivers.open(state_dir, keyring, clock, on_hint) as drivers:
            yield MortalDrivers(drivers, fuse)

    return Outside(clock=SteppedClock(directory), open_store=open_store, open_drivers=open_drivers)


def _file_put_in_place(
    fuse: Fuse, state_dir: Path, audited: str, arguments: tuple[object, ...]
) -> None:
    """Take each draft that becomes a file of the state as a point named after that file."""
    if audited in ("os.link", "os.rename"):
        path = Path(os.fsdecode(cast(str, arguments[1])))
        if path.is_relative_to(state_dir):
            fuse.reached(f"file.{path.name}.before")


def main(directory: Path, argv: Sequence[str]) -> int:
    """Run `sandboxd` with a fuse in `directory`; return its exit code."""
    return daemon.main(argv, outside=outside(directory))
