"""The daemon from boot to end: as a process of its own, and in this one where it is to fail."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scheduler import daemon
from scheduler.api.listener import Listener
from scheduler.api.protocol import Bounds, Gate
from scheduler.cli.client import Client
from scheduler.cli.failures import Failure
from scheduler.clock import Clock
from scheduler.config import Settings, load
from scheduler.control.reaper import Reaper
from scheduler.daemon import (
    EXIT_BAD_CONFIGURATION,
    EXIT_FAILED,
    EXIT_HELD_BY_ANOTHER,
    EXIT_OK,
)
from scheduler.errors import Unavailable
from scheduler.hosts.calls import Calls
from scheduler.hosts.driver import HostDriver
from scheduler.hosts.marks import Keyring
from scheduler.ids import Prefix, new_id
from scheduler.model import HostResources, Transport
from scheduler.notify import Notifier
from scheduler.outside import Outside
from scheduler.statedir import held
from scheduler.store import Store, StoreConfig
from tests.clocks import START, ManualClock
from tests.fleet.farm import FarmHost, LibvirtdFarm
from tests.fleet.process import run, wait_until
from tests.hosts.fake import FakeDriver, FakeHost
from tests.proof.daemon import Daemon, Document, running
from tests.waits import until, until_answer

pytestmark = pytest.mark.usefixtures("logs_as_before")

MakeFarm = Callable[[int], LibvirtdFarm]

QUICK = """
[lifecycle]
poll_seconds = 1
[metrics]
listen = "127.0.0.1:0"
"""
DEMO_IMAGE = "debian-12.qcow2"
SMALL = {"agent_id": "test", "vcpus": 1, "memory_mb": 256, "storage_mb": 2048}


def main(*arguments: object) -> int:
    return daemon.main([str(argument) for argument in arguments])


def settings_in(directory: Path, metrics: str = "") -> Settings:
    path = directory / "config.toml"
    path.write_text(QUICK + metrics)
    return load(path, state_dir=directory / "state", environ={})


def next_word(supervisor: socket.socket) -> bytes:
    """Return what the supervisor is told next, but for requests of more time to start."""
    while (word := supervisor.recv(4096)).startswith(b"EXTEND_TIMEOUT_USEC="):
        pass
    return word


@pytest.mark.timeout(400)
def test_from_boot_to_a_clean_end(tmp_path: Path) -> None:
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.settimeout(180)
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with told, running(tmp_path, QUICK, "--demo", **environment) as sandboxd:
        assert next_word(told).startswith(b"READY=1\n")
        wait_until(lambda: sandboxd.host("demo-1")["health"] == "UP", what="demo-1 UP", limit_s=180)
        created = sandboxd.api.post("/v1/sandboxes", {"base_image": DEMO_IMAGE, **SMALL})
        up = sandboxd.wait_for(created["id"], state="RUNNING", seconds=180)
        assert up["host_name"] in {"demo-1", "demo-2", "demo-3"}

        assert sandboxd.process is not None
        for _ in range(2):
            sandboxd.process._process.send_signal(signal.SIGTERM)
        assert sandboxd.stop() == EXIT_OK
        assert next_word(told).startswith(b"STOPPING=1\n")
        assert not sandboxd.socket.exists()
        assert "Traceback" not in sandboxd.log_tail()


@pytest.mark.timeout(400)
def test_i12_a_second_daemon_leaves_the_first_alone(tmp_path: Path) -> None:
    with running(tmp_path, QUICK) as first:
        assert first.process is not None
        before = first.socket.stat()
        second = Daemon(state_dir=first.state_dir, config=first.config)
        code, said = _run_to_its_end(second)
        assert code == EXIT_HELD_BY_ANOTHER
        assert f"pid {first.process.pid}" in said
        assert "--state-dir" in said
        assert first.socket.stat().st_ino == before.st_ino
        assert first.is_ready()


def _run_to_its_end(sandboxd: Daemon) -> tuple[int, str]:
    """Start a daemon that is to end by itself; return its code and what it said."""
    argv = [sys.executable, "-m", "scheduler.daemon"]
    argv += ["--config", str(sandboxd.config), "--state-dir", str(sandboxd.state_dir)]
    root = Path(__file__).parents[1]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=180, cwd=root)
    return ended.returncode, ended.stderr


class Host:
    """A farm host with a golden image, written into the store as an operator's command would."""

    def __init__(self, farm_host: FarmHost) -> None:
        self.farm_host = farm_host
        # The test driver comes with a guest of its own, larger than the machine it says it is.
        self.virsh("destroy", "test")
        self.virsh("undefine", "test")
        self.virsh("vol-create-as", "default-pool", "golden.qcow2", "64M", "--format", "qcow2")

    def virsh(self, *arguments: str) -> str:
        return run("virsh", "-q", "-c", self.farm_host.uri, *arguments)

    def domains(self) -> list[str]:
        return self.virsh("list", "--all", "--name").split()

    def volumes(self) -> set[str]:
        return {line.split()[0] for line in self.virsh("vol-list", "default-pool").splitlines()}

    async def join(self, state_dir: Path) -> None:
        record = HostResources(
            id=new_id(Prefix.HOST),
            name=self.farm_host.name,
            address="localhost",
            transport=Transport.UNIX,
            uri=self.farm_host.uri,
            pool="default-pool",
            created_at=START,
            updated_at=START,
        )
        config = StoreConfig(database_url=f"sqlite:///{state_dir / 'sandboxd.db'}")
        async with Store.open(config) as store:
            await store.submit(lambda tx: tx.hosts.add(record))


@pytest.mark.timeout(600)
def test_i9_killed_in_the_middle_it_carries_on_with_exactly_one_domain(
    tmp_path: Path, make_farm: MakeFarm
) -> None:
    host = Host(make_farm(1)[0])
    (tmp_path / "state").mkdir(mode=0o700)
    asyncio.run(host.join(tmp_path / "state"))
    body = {"base_image": "golden.qcow2", **SMALL, "storage_mb": 64}
    with running(tmp_path, QUICK) as sandboxd:
        wait_until(lambda: sandboxd.host("farm1")["health"] == "UP", what="UP", limit_s=180)
        for number in range(2):
            sandboxd.api.post("/v1/sandboxes", {**body, "sandbox_name": f"box-{number}"})
        sandboxd.kill()
        sandboxd.start()
        for number in range(2):
            sandboxd.wait_for(f"box-{number}", state="RUNNING", seconds=180)
        assert sorted(host.domains()) == ["box-0", "box-1"]

        doomed = sandboxd.sandbox("box-0")["id"]
        sandboxd.api.delete(f"/v1/sandboxes/{doomed}")
        sandboxd.kill()
        sandboxd.start()
        sandboxd.wait_for(doomed, state="DESTROYED", seconds=180)
        assert host.domains() == ["box-1"]
        kept = sandboxd.sandbox("box-1")["id"].lower()
        assert {name for name in host.volumes() if name.startswith("sbx-")} == {f"{kept}.qcow2"}
        record = sandboxd.host("farm1")
        assert (record["reserved_cpus"], record["reserved_storage_mb"]) == (1, 64)
        assert sandboxd.stop() == EXIT_OK


async def test_it_runs_and_ends_within_a_process(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.state_dir.mkdir()
    api = Client(str(settings.socket))
    hosts = [await _told_while_it_runs(settings, api) for _ in range(2)]
    assert {host["name"] for host in hosts[0]} == {"demo-1", "demo-2", "demo-3"}
    assert {host["id"] for host in hosts[0]} == {host["id"] for host in hosts[1]}
    assert not settings.socket.exists()


async def _told_while_it_runs(settings: Settings, api: Client) -> list[Document]:
    """Run the demo until it is ready, and return the hosts it tells of."""
    stop = asyncio.Event()
    running = asyncio.create_task(
        daemon.run(settings, Outside(), stop=stop, notifier=Notifier({}), demo=True)
    )

    async def is_ready() -> bool:
        if running.done():
            await running
        return settings.socket.exists() and bool(await asyncio.to_thread(_answers, api))

    await until_answer(is_ready, seconds=180)
    hosts = await asyncio.to_thread(lambda: list(api.items("/v1/hosts")))
    stop.set()
    async with asyncio.timeout(240):
        await running
    return hosts


class HungDrivers:
    """Hosts of which none ever answers."""

    def __init__(self, keyring: Keyring) -> None:
        self.asked = 0
        self.calls = Calls()
        self._keyring = keyring

    def get(self, host: HostResources) -> HostDriver:
        self.asked += 1
        hung = FakeDriver(
            FakeHost(host_id=host.id, host_uuid=host.id), self._keyring, ManualClock()
        )
        hung.gate = asyncio.Event()
        return hung

    async def jump(self, host: HostResources) -> None:
        pass

    async def forget(self, host_id: str) -> None:
        pass


async def test_the_end_waits_for_no_hung_host_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "STOP_SECONDS", 0.2)
    settings = settings_in(tmp_path, "enabled = false")
    settings.state_dir.mkdir()
    made: list[HungDrivers] = []

    @asynccontextmanager
    async def hung(
        _directory: Path, keyring: Keyring, _clock: Clock, _hint: Callable[[str], None]
    ) -> AsyncIterator[HungDrivers]:
        made.append(HungDrivers(keyring))
        yield made[0]

    stop = asyncio.Event()
    outside = Outside(open_drivers=hung)
    running = asyncio.create_task(
        daemon.run(settings, outside, stop=stop, notifier=Notifier({}), demo=True)
    )
    await until(lambda: running.done() or bool(made and made[0].asked >= 3), seconds=180)
    stop.set()
    async with asyncio.timeout(240):
        await running
    assert not settings.socket.exists()


def _answers(api: Client) -> bool:
    try:
        api.get("/readyz")
    except Failure:
        return False
    return True


def test_a_bug_in_a_loop_ends_it_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def bug(_self: Reaper) -> float | None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(Reaper, "reap", bug)
    config = tmp_path / "config.toml"
    config.write_text(QUICK)
    assert main("--config", config, "--state-dir", tmp_path / "state") == EXIT_FAILED
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (told,) = [line for line in logged if line["event"] == "a bug ended the daemon"]
    assert "ZeroDivisionError: boom" in told["exception"]
    assert not (tmp_path / "state" / "admin.sock").exists()


def test_a_damaged_database_is_told_and_never_recreated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "sandboxd.db"
    database.write_bytes(b"this was a database once" * 1000)
    before = database.read_bytes()
    assert main("--state-dir", tmp_path) == EXIT_FAILED
    said = capsys.readouterr().err
    assert "damaged" in said
    assert "restore" in said
    assert "Traceback" not in said
    assert database.read_bytes() == before
    assert not (tmp_path / "admin.sock").exists()


def test_a_held_directory_is_a_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(tmp_path):
        assert main("--state-dir", tmp_path) == EXIT_HELD_BY_ANOTHER
    assert "another daemon (pid" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_directory_that_cannot_be_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main("--state-dir", tmp_path / "file" / "state") == EXIT_FAILED
    assert "cannot be made" in capsys.readouterr().err


def test_a_good_configuration_is_valid_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(QUICK)
    state = tmp_path / "state"
    assert main("--config", config, "--state-dir", state, "--check-config") == EXIT_OK
    assert "valid" in capsys.readouterr().out
    assert not state.exists()


def test_every_fault_of_a_configuration_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[daemon]\nlog_level = "loud"\n[lifecycle]\npoll_seconds = -1\n[nonsense]\na = 1\n'
        '[[hosts]]\nname = "Bad Name"\n'
    )
    assert main("--config", config, "--check-config") == EXIT_BAD_CONFIGURATION
    captured = capsys.readouterr()
    for path in ("daemon.log_level", "lifecycle.poll_seconds", "nonsense", "hosts.0.name"):
        assert path in captured.err
    assert captured.out == ""


def test_a_file_that_is_not_there_is_a_fault_of_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("--config", tmp_path / "none.toml") == EXIT_BAD_CONFIGURATION
    assert "none.toml" in capsys.readouterr().err


def test_a_store_that_may_only_be_read_is_a_fault_of_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(QUICK + "[store]\nread_only = true\n")
    for more in ((), ("--check-config",)):
        arguments = ("--config", config, "--state-dir", tmp_path / "state", *more)
        assert main(*arguments) == EXIT_BAD_CONFIGURATION
        assert "store.read_only: a daemon writes what it does" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


async def test_a_socket_that_nobody_serves_ends_the_daemon(tmp_path: Path) -> None:
    async def served() -> None:
        return

    task = asyncio.create_task(served())
    listener = Listener(tmp_path / "admin.sock", Gate(Bounds()), task)
    with pytest.raises(Unavailable, match=r"nobody serves .*admin\.sock"):
        await daemon._listen(listener)
