"""A start that is cut short: what must end whole does, and nothing is begun any more."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scheduler import daemon
from scheduler.cli.client import Client
from scheduler.cli.failures import Refused
from scheduler.clock import Clock, SystemClock
from scheduler.config import Settings, load
from scheduler.errors import Invalid
from scheduler.hosts.calls import Calls
from scheduler.hosts.driver import HostDriver
from scheduler.hosts.marks import Keyring
from scheduler.model import HostResources
from scheduler.notify import Notifier
from scheduler.outside import Outside
from scheduler.store import Store, StoreConfig
from tests.api.conftest import client
from tests.databases import PATIENT
from tests.supervisors import heard
from tests.waits import until


class Untouched:
    """Hosts that nothing may be asked of, by name those that something was."""

    calls = Calls()

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get(self, host: HostResources) -> HostDriver:
        self.asked.append(host.name)
        raise AssertionError(f"{host.name} is asked by a daemon that was told to stop")

    async def jump(self, host: HostResources) -> None:
        self.asked.append(host.name)
        raise AssertionError(f"{host.name} is dialled by a daemon that was told to stop")

    async def forget(self, host_id: str) -> None:
        pass


@asynccontextmanager
async def untouched(
    _directory: Path, _keyring: Keyring, _clock: Clock, _hint: Callable[[str], None]
) -> AsyncIterator[Untouched]:
    hosts = Untouched()
    yield hosts
    # A loop outlives what it meets, so that nobody else would hear of it.
    assert hosts.asked == []


def open_patiently(config: StoreConfig, *, clock: Clock) -> AbstractAsyncContextManager[Store]:
    """Open a store that waits for another's lock for as long as a test may take."""
    return Store.open(config, clock=clock, limits=PATIENT)


@dataclass
class Start:
    """A daemon that is about to start, and who supervises it."""

    settings: Settings
    supervisor: socket.socket
    words: list[str] = field(default_factory=list)

    async def run(self, outside: Outside, stop: asyncio.Event) -> None:
        notify = {"NOTIFY_SOCKET": self.supervisor.getsockname()}
        with closing(Notifier(notify)) as notifier:
            await daemon.run(self.settings, outside, stop=stop, notifier=notifier, demo=True)

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Let it open no database within the block: another has its lock."""
        path = self.settings.state_dir / "sandboxd.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA journal_mode = WAL")
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("COMMIT")

    def heard(self, word: str) -> bool:
        """Return whether the supervisor was told this by now."""
        self.words += heard(self.supervisor)
        return any(one.startswith(word) for one in self.words)


@pytest.fixture
def start(tmp_path: Path, supervisor: socket.socket) -> Iterator[Start]:
    config = tmp_path / "config.toml"
    config.write_text("[metrics]\nenabled = false\n")
    (tmp_path / "state").mkdir(mode=0o700)
    settings = load(config, state_dir=tmp_path / "state", environ={})
    yield Start(settings, supervisor)
    assert not settings.socket.exists()


async def test_told_to_stop_while_the_schema_is_made_it_makes_it_whole_and_ends(
    start: Start,
) -> None:
    path, stop = start.settings.state_dir / "sandboxd.db", asyncio.Event()
    outside = Outside(open_drivers=untouched, open_store=open_patiently)
    with start.held_up():
        starting = asyncio.create_task(start.run(outside, stop))
        await until(lambda: start.heard("EXTEND_TIMEOUT_USEC="))
        stop.set()
        await until(lambda: start.heard("STOPPING=1"))
        assert not starting.done()
    async with asyncio.timeout(240):
        await starting
    assert not start.heard("READY=1")
    async with Store.open(
        StoreConfig(database_url=f"sqlite:///{path}", auto_migrate=False)
    ) as made:
        assert await made.read(lambda tx: tx.hosts.all()) == ()


async def test_who_asks_while_it_starts_is_told_so(start: Start) -> None:
    """The database is another's for the moment, so opening it takes as long as that."""
    stop, socket_path = asyncio.Event(), start.settings.socket
    with start.held_up():
        starting = asyncio.create_task(start.run(Outside(open_store=open_patiently), stop))
        await until(lambda: start.heard("EXTEND_TIMEOUT_USEC="))  # said once the socket is served
        async with client(socket_path) as http:
            assert (await http.get("/healthz")).json() == {"status": "ok"}
            for method, place in (("GET", "/readyz"), ("POST", "/v1/sandboxes")):
                answer = await http.request(method, place)
                assert (answer.status_code, answer.json()["code"]) == (503, "starting")
                assert answer.headers["retry-after"] == "1"
                assert "nothing was done" in answer.json()["detail"]
        asking = Client(str(socket_path), starting_seconds=240)
        waiting = asyncio.create_task(asyncio.to_thread(asking.get, "/readyz"))
    # The client has gone on asking; it may have been told "not ready yet" in between.
    await asyncio.wait({waiting})
    if (refusal := waiting.exception()) is not None:
        assert isinstance(refusal, Refused)
        assert refusal.code == "not_ready"
    await until(lambda: start.heard("READY=1"))
    async with client(socket_path) as http:
        assert (await http.get("/readyz")).json() == {"status": "ready"}
    stop.set()
    async with asyncio.timeout(240):
        await starting


async def test_a_second_daemon_leaves_the_socket_of_the_first_alone(
    start: Start, tmp_path: Path
) -> None:
    """The first goes no further meanwhile: its loops would ask its hosts for something."""
    stop = asyncio.Event()
    outside = Outside(open_drivers=untouched, open_store=open_patiently)
    other = tmp_path / "other"
    config = tmp_path / "config.toml"
    environ = {"SANDBOXD_API__SOCKET": str(start.settings.socket)}
    settings = load(config, state_dir=other, environ=environ)
    other.mkdir(mode=0o700)
    with start.held_up():
        first = asyncio.create_task(start.run(outside, stop))
        await until(lambda: start.heard("EXTEND_TIMEOUT_USEC="))
        with pytest.raises(Invalid, match="somebody answers"), closing(Notifier({})) as nobody:
            await daemon.run(settings, Outside(), stop=stop, notifier=nobody, demo=False)
        assert list(other.iterdir()) == [], "nothing was opened"
        assert start.settings.socket.exists()
        stop.set()
    async with asyncio.timeout(240):
        await first


async def test_told_to_stop_before_the_loops_run_it_begins_none(start: Start) -> None:
    stop = asyncio.Event()

    class Fateful(SystemClock):
        """A clock that is looked at first by what guards it, right before the loops begin."""

        def boottime(self) -> float:
            stop.set()
            return super().boottime()

    async with asyncio.timeout(240):
        await start.run(Outside(clock=Fateful(), open_drivers=untouched), stop)
    assert start.heard("STOPPING=1")
    assert not start.heard("READY=1")


async def test_nobody_told_to_stop_it_gets_ready(start: Start) -> None:
    stop = asyncio.Event()
    starting = asyncio.create_task(start.run(Outside(), stop))
    await until(lambda: start.heard("READY=1\nSTATUS=3 hosts configured"))
    stop.set()
    async with asyncio.timeout(240):
        await starting
    assert start.heard("STOPPING=1")
    assert next(word.partition("=")[0] for word in start.words) == "EXTEND_TIMEOUT_USEC"


@pytest.mark.usefixtures("logs_as_before")
def test_a_group_that_cannot_have_the_socket_is_a_fault_of_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no CAP_CHOWN")

    config = tmp_path / "config.toml"
    config.write_text('[metrics]\nenabled = false\n[api]\ngroup = "mail"\n')
    monkeypatch.setattr(os, "chown", refuse)
    arguments = ["--config", str(config), "--state-dir", str(tmp_path / "state")]
    assert daemon.main(arguments) == daemon.EXIT_BAD_CONFIGURATION
    assert "cannot be given to the group mail" in capsys.readouterr().err
