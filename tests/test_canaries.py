"""Secrets stay where they were put: each is a canary, and what the daemon says is searched for it.

The daemon is driven through what works and through what fails, in its configuration, its database,
its hosts and its requests, since it is failures that quote.
"""

from __future__ import annotations

import logging
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import pytest
import structlog
from sqlalchemy import create_engine, make_url, text

from scheduler import daemon
from scheduler.cli.failures import Failure
from tests.farm.watch import metrics_port
from tests.fleet.postgres import PostgresCluster
from tests.fleet.process import wait_until
from tests.proof.daemon import Daemon, running

ROOT = Path(__file__).parents[1]
IMAGE = "debian-12.qcow2"
WANTED = {"base_image": IMAGE, "agent_id": "a", "vcpus": 1, "memory_mb": 256, "storage_mb": 64}
READINGS = (
    "/v1/hosts",
    "/v1/sandboxes?include_deleted=true",
    "/v1/events?limit=500",
    "/v1/audit?wait=1s",
)
    "/v1/hosts",
    "/v1/sandboxes?include_deleted=true",
    "/v1/events?limit=500",
    "/v1/audit?wait=1s",
)
COMMANDS = (
    ("host", "list", "-o", "json"),
    ("list", "-o", "yaml"),
    ("events", "-o", "json"),
    ("show", "nothing-so-named"),
    ("host", "show", "ssh-1", "-o", "json"),
)


@dataclass
class Canaries:
    """Secrets that nobody else could have thought of."""

    planted: dict[str, str] = field(default_factory=dict)

    def plant(self, where: str) -> str:
        return self.planted.setdefault(where, f"canary{secrets.token_hex(12)}")

    def assert_none_in(self, told: str, where: str) -> None:
        """Fail if one is in what was told, naming which and where, and not the text."""
        sung = [name for name, canary in self.planted.items() if canary in told]
        assert not sung, f"{where} tells {sung}"


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


BAD_URLS = (
    "mysql://user:{}@db/name",
    "postgres://user:{}@db:port/name",
    "postgres://user:{}@db/name?sslmode=whatever",
    "postgres://user@db/name?password={}&nonsense=1",
    "postgres://user:{}@127.0.0.1:1/name",
    "postgres://user:{}@[::1/name",
    "{}",
)
BAD_FILES = (
    '[store]\ndatabase_url = "postgres://u:{}@db/n',
    '[store]\ndatabase_url = ["postgres://u:{}@db/n"]',
    '[store]\npassword = "{}"',
    '[store]\ndatabase_url = {{ password = "{}" }}',
)


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """The daemon configures logging for its process; other tests share this one."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("url", BAD_URLS)
@pytest.mark.parametrize("way", ["file", "environment", "credential"])
def test_a_database_url_that_fails_is_not_told(
    tmp_path: Path,
    canaries: Canaries,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
    way: str,
) -> None:
    secret = url.format(canaries.plant("the database's password"))
    config = tmp_path / "config.toml"
    config.write_text(f'[store]\ndatabase_url = "{secret}"\n' if way == "file" else "")
    if way == "environment":
        monkeypatch.setenv("SANDBOXD_STORE__DATABASE_URL", secret)
    if way == "credential":
        (tmp_path / "store__database_url").write_text(secret)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    state = tmp_path / "state"
    assert daemon.main(["--config", str(config), "--state-dir", str(state)]) != daemon.EXIT_OK
    captured = capsys.readouterr()
    assert captured.err
    canaries.assert_none_in(captured.out + captured.err, "sandboxd")


@pytest.mark.parametrize("config", BAD_FILES)
def test_a_configuration_that_is_refused_is_not_quoted(
    tmp_path: Path, canaries: Canaries, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(config.format(canaries.plant("the database's password")))
    assert daemon.main(["--config", str(path), "--check-config"]) == daemon.EXIT_BAD_CONFIGURATION
    captured = capsys.readouterr()
    canaries.assert_none_in(captured.out + captured.err, "sandboxd --check-config")


@pytest.mark.timeout(600)
def test_a_daemon_at_work_tells_no_secret(
    tmp_path: Path, postgres: PostgresCluster, canaries: Canaries
) -> None:
    url = make_url(postgres.database())
    secret = url.set(password=canaries.plant("the database's password"))
    key = tmp_path / "key"
    key.write_text(canaries.plant("a host's SSH key"))
    key.chmod(0o600)
    known = tmp_path / "known_hosts"
    known.write_text("")
    config = _configuration(secret.render_as_string(hide_password=False), key, known)
    with running(tmp_path, config, "--demo") as sandboxd:
        cluster_key = (sandboxd.state_dir / "cluster.key").read_text(errors="replace").strip()
        canaries.planted["the cluster's key"] = cluster_key
        wait_until(lambda: sandboxd.host("demo-1")["health"] == "UP", what="UP", limit_s=180)
        wait_until(lambda: sandboxd.host("ssh-1")["health_reason"], what="a reason", limit_s=180)
        _drive(sandboxd, canaries)
        for reading in READINGS:
            canaries.assert_none_in(_raw(sandboxd, reading), reading)
        for command in COMMANDS:
            canaries.assert_none_in(_ctl(sandboxd, *command), " ".join(command))
        with urlopen(f"http://127.0.0.1:{metrics_port(sandboxd)}/metrics", timeout=60) as page:
            canaries.assert_none_in(page.read().decode(), "/metrics")
        sandboxd.stop()
        canaries.assert_none_in(sandboxd.log.read_text(), "the log")
    for table, rows in _dump(url.render_as_string(hide_password=False)).items():
        canaries.assert_none_in(rows, f"the table {table}")


def _configuration(url: str, key: Path, known: Path) -> str:
    return f"""
[metrics]
listen = "127.0.0.1:0"
[api]
group = ""
[lifecycle]
poll_seconds = 0.5
[store]
database_url = "{url}"
[[hosts]]
name = "ssh-1"
transport = "ssh"
address = "127.0.0.1"
ssh_port = 1
ssh_user = "u"
ssh_key = "{key}"
ssh_known_hosts = "{known}"
"""


def _drive(sandboxd: Daemon, canaries: Canaries) -> None:
    """Ask for what works, and for what is refused with a secret in it."""
    made = sandboxd.api.post("/v1/sandboxes", WANTED, key="same", wait=30)
    assert sandboxd.api.post("/v1/sandboxes", WANTED, key="same", wait=30) == made
    secret = canaries.plant("a refused request's body")
    refused: tuple[tuple[str, Mapping[str, object]], ...] = (
        ("/v1/sandboxes", {**WANTED, "user_data": secret}),
        ("/v1/sandboxes", {**WANTED, "env": {"TOKEN": secret}}),
        ("/v1/sandboxes", {**WANTED, "ssh_public_keys": [f"-----BEGIN KEY-----{secret}"]}),
        ("/v1/sandboxes", {**WANTED, "vcpus": {"password": secret}}),
        ("/v1/hosts", {"name": "h", "password": secret}),
        ("/v1/hosts", {"name": "h", "uri": f"qemu+ssh://root:{secret}@h/system"}),
        ("/v1/hosts", {"name": "h", "transport": "unix", "uri": f"qemu://u:{secret}@h/system"}),
    )
    for path, body in refused:
        with pytest.raises(Failure) as failure:
            sandboxd.api.post(path, body)
        canaries.assert_none_in(f"{failure.value} {vars(failure.value)}", f"{path} {set(body)}")
    sandboxd.api.delete(f"/v1/sandboxes/{made['id']}", wait=30)


def _raw(sandboxd: Daemon, path: str) -> str:
    return sandboxd.api.request("GET", path).body.decode()


def _ctl(sandboxd: Daemon, *arguments: str) -> str:
    argv = [
        sys.executable,
        "-m",
        "scheduler.cli.main",
        "--socket",
        str(sandboxd.socket),
        *arguments,
    ]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=180, cwd=ROOT)
    return ended.stdout + ended.stderr


def _dump(url: str) -> dict[str, str]:
    """Return every table's rows as text."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    names = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    with engine.connect() as connection:
        tables = connection.execute(text(names)).scalars().all()
        dump = {
            table: str(connection.execute(text(f'SELECT * FROM "{table}"')).all())
            for table in tables
        }
    engine.dispose()
    assert dump
    return dump
