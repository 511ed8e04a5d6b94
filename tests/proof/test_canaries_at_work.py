"""A daemon at work tells no secret: log, callers, tables, metrics and hosts are searched.

Much of what it does here fails, since it is failures that quote.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncssh
import libvirt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import sql

from scheduler.cli.failures import Failure
from scheduler.hosts.cluster import KEY_FILE
from tests.canaries import Canaries
from tests.fleet.farm import FarmHost, LibvirtdFarm
from tests.fleet.furniture import IMAGE, POOL, furnish
from tests.fleet.postgres import PostgresCluster
from tests.fleet.process import free_port, wait_until
from tests.proof.daemon import Daemon, Document, running

LIMIT_S = 180.0
PASSWORD = "the database's password"
WANTED = {"base_image": IMAGE, "vcpus": 1, "memory_mb": 64, "storage_mb": 64}
BODY = {**WANTED, "agent_id": "a"}
READINGS = (
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/v1/audit",
    "/v1/decisions/unknown",
    "/v1/doctor",
    "/v1/events",
    "/v1/hosts",
    "/v1/hosts/far",
    "/v1/hosts/near",
    "/v1/orphans",
    "/v1/sandboxes",
    "/v1/sandboxes/unknown",
    "/v1/ssh-authorities",
    "/v1/ssh-certificates",
)


@pytest.fixture
def near() -> Iterator[FarmHost]:
    with LibvirtdFarm(1) as farm:
        furnish(farm[0])
        yield farm[0]


@pytest.fixture
def server() -> Iterator[PostgresCluster]:
    with PostgresCluster.make() as cluster:
        yield cluster


@pytest.mark.timeout(600)
def test_no_secret_is_told(tmp_path: Path, near: FarmHost, server: PostgresCluster) -> None:
    canaries = Canaries()
    database = server.database()
    url = _with_password(database, canaries.plant(PASSWORD))
    key = _private_key(tmp_path, canaries)
    with running(tmp_path, _configuration(url, near, key)) as sandboxd:
        canaries.adopt("the key that signs marks", _cluster_key(sandboxd))
        canaries.adopt("the key that opens guests", _authority_key(sandboxd, 1))
        sandbox = _begun(sandboxd)
        told = _answers(sandboxd, sandbox["id"])
        told["the hosts"] = _descriptions(near)
        told |= _rotated(sandboxd, canaries)
        sandboxd.api.delete(f"/v1/sandboxes/{sandbox['id']}")
        sandboxd.wait_for(sandbox["id"], state="DESTROYED", seconds=LIMIT_S)
        told |= {path: _read(sandboxd, path) for path in READINGS}
        told["/metrics"] = _metrics(sandboxd)
        server.crash()
        wait_until(lambda: not sandboxd.is_ready(), what="not ready", limit_s=LIMIT_S)
        told["/readyz, without a database"] = _read(sandboxd, "/readyz")
        server.restart()
        wait_until(sandboxd.is_ready, what="ready", limit_s=LIMIT_S)
        assert sandboxd.stop() == 0
        told["the log"] = sandboxd.log.read_text()
    told |= _tables(database)
    for where, text in told.items():
        assert text, where
        canaries.assert_none_in(text, where)


def test_a_canary_is_found_in_every_form() -> None:
    canaries = Canaries()
    canaries.adopt("a key", bytes(range(200, 232)))
    for form in canaries.planted["a key"]:
        with pytest.raises(AssertionError, match="log tells"):
            canaries.assert_none_in(f"key={form}!", "the log")


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    user, host = parts.netloc.split("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))


def _private_key(directory: Path, canaries: Canaries) -> Path:
    path = directory / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    canaries.planted["the private SSH key"] = tuple(path.read_text().splitlines()[2:-1])
    assert canaries.planted["the private SSH key"]
    return path


def _cluster_key(sandboxd: Daemon) -> bytes:
    return (sandboxd.state_dir / KEY_FILE).read_bytes()


def _authority_key(sandboxd: Daemon, number: int) -> bytes:
    """Return the secret half, in every form of which a canary is looked for."""
    key = asyncssh.read_private_key(sandboxd.state_dir / f"ssh-ca.{number}")
    assert isinstance(key.pyca_key, Ed25519PrivateKey)
    return key.pyca_key.private_bytes_raw()


def _rotated(sandboxd: Daemon, canaries: Canaries) -> dict[str, str]:
    """Have another key open guests, and the first one removed; return what was answered."""
    asked = sandboxd.api.post("/v1/ssh-authorities/rotate")
    path = f"/v1/ssh-authorities/{asked['id']}"
    made = sandboxd.api.get(path, wait="60s")
    assert made["state"] == "SIGNING"
    canaries.adopt("the next key that opens guests", _authority_key(sandboxd, 2))
    gone = sandboxd.api.post("/v1/ssh-authorities/ssh-ca.1/retire", {"force": True})
    return {"rotation": json.dumps((asked, made, gone)), path: _read(sandboxd, path)}


def _configuration(url: str, near: FarmHost, key: Path) -> str:
    known_hosts = key.with_name("known_hosts")
    known_hosts.write_text("")
    return f"""
[store]
database_url = "{url}"
[metrics]
listen = "127.0.0.1:0"
[api]
group = ""
[lifecycle]
poll_seconds = 1
[[hosts]]
name = "near"
uri = "{near.uri}"
transport = "unix"
pool = "{POOL}"
[[hosts]]
name = "far"
uri = "qemu:///system"
transport = "ssh"
address = "127.0.0.1"
ssh_user = "nobody"
ssh_port = {free_port()}
ssh_key = "{key}"
ssh_known_hosts = "{known_hosts}"
"""


def _begun(sandboxd: Daemon) -> Document:
    """Return a sandbox that runs on the near host, once the far one is known to be out of reach."""
    wait_until(lambda: sandboxd.host("near")["health"] == "UP", what="UP", limit_s=LIMIT_S)
    wait_until(lambda: sandboxd.host("far")["health"] == "DOWN", what="DOWN", limit_s=LIMIT_S)
    made = sandboxd.api.post("/v1/sandboxes", BODY)
    return sandboxd.wait_for(made["id"], state="RUNNING", seconds=LIMIT_S)


def _answers(sandboxd: Daemon, sandbox_id: str) -> dict[str, str]:
    """Ask about a sandbox, and for what is refused; return what was answered."""
    paths = [f"/v1/sandboxes/{sandbox_id}{part}" for part in ("", "/decision", "/address")]
    told = {path: _read(sandboxd, path) for path in paths}
    too_much = {"memory_mb": 1 << 20}
    told["why not"] = json.dumps(sandboxd.api.post("/v1/placements/explain", WANTED | too_much))
    for wrong in (too_much, {"base_image": "none"}, {"vcpus": "many"}):
        with pytest.raises(Failure) as refused:
            sandboxd.api.post("/v1/sandboxes", BODY | wrong)
        told[f"refused: {wrong}"] = _words(refused.value)
    return told


def _read(sandboxd: Daemon, path: str) -> str:
    try:
        return json.dumps(sandboxd.api.get(path))
    except Failure as failure:
        return _words(failure)


def _words(failure: Failure) -> str:
    return f"{failure} {failure.hint} {failure.document}"


def _metrics(sandboxd: Daemon) -> str:
    told = (json.loads(line) for line in sandboxd.log.read_text().splitlines())
    port = next(line["port"] for line in told if line["event"] == "metrics")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as page:
        return str(page.read().decode())


def _descriptions(host: FarmHost) -> str:
    """Return all that a host was told of its domains and networks."""
    with closing(libvirt.open(host.uri)) as connection:
        told = [domain.XMLDesc() for domain in connection.listAllDomains()]
        for domain in connection.listAllDomains():
            with suppress(libvirt.libvirtError):
                told.append(domain.metadata(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, None))
    return "\n".join(told)


def _tables(url: str) -> dict[str, str]:
    """Return every row of every table."""
    names = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    told = {}
    with psycopg.connect(url) as connection:
        for (name,) in connection.execute(names).fetchall():
            row = sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(name))
            told[f"table {name}"] = "\n".join(line for (line,) in connection.execute(row))
    assert "table sandboxes" in told
    return {table: rows for table, rows in told.items() if rows}
