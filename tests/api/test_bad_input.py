"""What is malformed is refused with its path and a remedy, and changes nothing in any table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from sqlalchemy import create_engine, text

from tests.service.planes import IMAGE, Plane

BODY: dict[str, Any] = {"base_image": IMAGE, "agent_id": "agent-1"}
HOST: dict[str, Any] = {"name": "gamma", "transport": "test", "uri": "test:///default"}
JSON = {"content-type": "application/json"}
HUGE = 10**30
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDummyDummyDummyDummyDummyDummyDummyDummyDummy"

HOSTILE_TEXTS = (
    "",
    " ",
    "../../etc/passwd",
    "/etc/passwd",
    "a b",
    "a'; DROP TABLE sandboxes; --",
    "</name><disk/>",
    "a&b",
    "a\x00b",
    "a\nb",
    "a\x1b[31m",
    "\u202ex",
    "-rf",
    "$(id)",
    "{{ 7 }}",
    "x" * 300,
)
NAMES = (
    "base_image",
    "agent_id",
    "job_id",
    "sandbox_name",
    "network",
    "host",
    "anti_affinity_group",
)
NUMBERS: tuple[tuple[str, object], ...] = tuple(
    (field, value)
    for field in ("vcpus", "memory_mb", "storage_mb", "ttl_seconds", "provision_timeout_seconds")
    for value in (0, -1, HUGE, 1.5, "2", True, [1])
)
WRONG: tuple[tuple[str, object], ...] = (
    ("labels", {"a b": "c"}),
    ("labels", {"a": "<b>"}),
    ("labels", {"a": 1}),
    ("labels", ["a"]),
    ("labels", {f"k{n}": "v" for n in range(17)}),
    ("labels", {f"k{n:060}": "v" * 60 for n in range(16)}),
    ("host_selector", {"": ""}),
    ("ssh_public_keys", "ssh-ed25519 AAAA"),
    ("ssh_public_keys", ["ssh-ed25519 AAAA"]),
    ("ssh_public_keys", ["ssh-ed25519 not-base64!"]),
    ("ssh_public_keys", [f"{ED25519}\nruncmd: [id]"]),
    ("ssh_public_keys", ["-----BEGIN OPENSSH PRIVATE KEY-----"]),
    ("ssh_public_keys", ["ssh-ed25519 " + "A" * 5000]),
    ("ssh_public_keys", ["x"] * 17),
    ("auto_start", "yes"),
    ("auto_start", None),
    ("on_expire", "explode"),
    ("ready", "soon"),
    ("source_vm", "web\x1b[31m"),
    ("source_vm", 7),
    ("user_data", "runcmd: [id]"),
    ("state", "RUNNING"),
    ("id", "SBX-1"),
    ("agent_id", None),
    ("base_image", 7),
)
CASES = (
    *((field, value) for field in NAMES for value in HOSTILE_TEXTS if "\x00" not in value),
    *NUMBERS,
    *WRONG,
)


@pytest.fixture(autouse=True)
async def unchanged(http: httpx2.AsyncClient, cloud: Plane) -> AsyncIterator[None]:
    """Every test here must leave every row of every table as it was."""
    before = _contents(cloud)
    yield
    assert _contents(cloud) == before


def _contents(cloud: Plane) -> dict[str, list[Any]]:
    engine = create_engine(cloud.store.config.database_url)
    try:
        with engine.connect() as connection:
            names = connection.execute(
                text("SELECT name FROM sqlite_master WHERE type = 'table'")
            ).scalars()
            return {
                name: list(connection.execute(text(f'SELECT * FROM "{name}"')))
                for name in names.all()
            }
    finally:
        engine.dispose()


def _faults(answer: httpx2.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["code"] == "invalid"
    assert told["remediation"]
    assert all(fault["message"] and fault["remedy"] for fault in told["errors"])
    assert len(answer.content) < 20_000, "an answer must not grow with what was sent"
    return {fault["path"]: fault["remedy"] for fault in told["errors"]}


async def test_every_field_refuses_what_it_may_not_hold(http: httpx2.AsyncClient) -> None:
    for field, value in CASES:
        answer = await http.post("/v1/sandboxes", json={**BODY, field: value})
        paths = _faults(answer)
        assert all(path.startswith(field) for path in paths), (field, value, paths)
        assert paths, (field, value)


async def test_a_sandbox_is_made_of_one_thing(http: httpx2.AsyncClient) -> None:
    neither = {name: value for name, value in BODY.items() if name != "base_image"}
    for body in (neither, neither | {"base_image": ""}, BODY | {"source_vm": "web-1"}):
        told = _faults(await http.post("/v1/sandboxes", json=body))
        assert told == {"base_image": "give base_image or source_vm, and not both"}
    secrets = BODY | {"remove_secrets": True}
    assert _faults(await http.post("/v1/sandboxes", json=secrets)) == {
        "": "leave remove_secrets out"
    }


async def test_all_faults_are_told_at_once(http: httpx2.AsyncClient) -> None:
    body = {"vcpus": 0, "sandbox_name": "A", "labels": {"a": "<"}, "ssh_public_keys": ["x"], "z": 1}

    paths = _faults(await http.post("/v1/sandboxes", json=body))

    assert set(paths) == {
        "base_image",
        "agent_id",
        "vcpus",
        "sandbox_name",
        "labels.a",
        "ssh_public_keys[0]",
        "z",
    }


async def test_a_body_is_an_object(http: httpx2.AsyncClient) -> None:
    for body in (b"", b"null", b"[]", b'"text"', b"7"):
        answer = await http.post("/v1/sandboxes", content=body, headers=JSON)

        assert "" in _faults(answer), body
        assert "the body" in answer.json()["detail"], body


AMBIGUOUS: tuple[tuple[bytes, str], ...] = (
    (b"{", "line 1 column 2"),
    (b"{'a': 1}", "double quotes"),
    (b'{"agent_id": "a", "agent_id": "b"}', "same key twice"),
    (b'{"vcpus": NaN}', "NaN"),
    (b'{"vcpus": -Infinity}', "-Infinity"),
    (b'{"vcpus": ' + b"9" * 5000 + b"}", "number"),
    (b'{"agent_id": "\\u0000"}', "NUL"),
    (b'{"agent_id": "\\ud800"}', "surrogate"),
    (b'{"\\udfff": 1}', "surrogate"),
    (b'{"agent_id": "\xff"}', "UTF-8"),
    ("{}".encode("utf-16"), "UTF-8"),
    (b'{"labels": ' + b"[" * 100 + b"]" * 100 + b"}", "nested"),
    (b"[" * 100_000, "nested"),
    (b'{"a": 1} {"b": 2}', "Extra data"),
    (b'{"agent_id": "a\nb"}', "control character"),
)


async def test_ambiguous_json_is_refused(http: httpx2.AsyncClient) -> None:
    for body, why in AMBIGUOUS:
        answer = await http.post("/v1/sandboxes", content=body, headers=JSON)

        assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), body[:50]
        assert why in answer.json()["detail"], body[:50]
        assert answer.json()["remediation"]


async def test_a_large_body_is_refused_unread(http: httpx2.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b" " * 65536

    declared = await http.post("/v1/sandboxes", content=b" " * (10 << 20), headers=JSON)
    streamed = await http.post("/v1/sandboxes", content=endless(), headers=JSON)

    for answer in (declared, streamed):
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_only_json_is_read(http: httpx2.AsyncClient) -> None:
    for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded"):
        content = json.dumps(BODY).encode()
        answer = await http.post("/v1/sandboxes", content=content, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


QUERIES: tuple[tuple[str, str | None], ...] = (
    ("/v1/sandboxes?nonsense=1", "query.nonsense"),
    ("/v1/sandboxes?limit=0", "query.limit"),
    ("/v1/sandboxes?limit=1001", "query.limit"),
    ("/v1/sandboxes?limit=-1", "query.limit"),
    ("/v1/sandboxes?limit=ten", "query.limit"),
    (f"/v1/sandboxes?limit={HUGE}", "query.limit"),
    ("/v1/sandboxes?limit=1&limit=2", "query.limit"),
    ("/v1/sandboxes?cursor=garbage", "cursor"),
    ("/v1/sandboxes?cursor=%00", "query.cursor"),
    ("/v1/sandboxes?order_by=state;drop", "query.order_by"),
    ("/v1/sandboxes?order_by=mac", "order_by"),
    ("/v1/sandboxes?label=team", "query.label"),
    ("/v1/sandboxes?label=a%20b=c", "query.label"),
    ("/v1/sandboxes?state=SLEEPING", "query.state"),
    ("/v1/sandboxes?name=../x", "query.name"),
    ("/v1/sandboxes?id_prefix=sbx", "query.id_prefix"),
    ("/v1/sandboxes/a%00b", "path.reference"),
    ("/v1/sandboxes/..%2f..", None),
    ("/v1/sandboxes/box?wait=soon", "query.wait"),
    ("/v1/sandboxes/box/ip?x=1", "query.x"),
    ("/v1/hosts?state=ASLEEP", "query.state"),
    ("/v1/hosts/A_B", "path.name"),
    ("/v1/events?since=-1", "query.since"),
    (f"/v1/events?since={HUGE}", "query.since"),
    ("/v1/events?kind=Sandbox", "query.kind"),
    ("/healthz?verbose=1", "query.verbose"),
    ("/v1/sandboxes?" + "&".join(f"a{n}=1" for n in range(40)), "query"),
)


async def test_queries_and_paths_are_checked(http: httpx2.AsyncClient) -> None:
    for path, fault in QUERIES:
        answer = await http.get(path)

        if fault is None:
            assert answer.status_code == 404, path
        else:
            assert fault in _faults(answer), path


async def test_waiting_is_bounded(http: httpx2.AsyncClient, cloud: Plane) -> None:
    answer = await http.get("/v1/sandboxes?limit=1")
    assert answer.status_code == 200
    long = await http.post("/v1/sandboxes/box/stop?wait=999m")
    assert long.status_code in {404, 422}


HOSTS: tuple[tuple[dict[str, object], str], ...] = (
    ({"name": "Gamma"}, "name"),
    ({"name": "g" * 64}, "name"),
    ({"transport": "tcp"}, "transport"),
    ({"transport": "tls", "uri": None}, ""),
    ({"transport": "tls", "address": "h", "uri": "qemu+tls://h/system?no_verify=1"}, ""),
    ({"uri": "qemu+tcp://h/system"}, "uri"),
    ({"uri": "test:///default'/>"}, "uri"),
    ({"uri": "qemu:///system"}, ""),
    ({"transport": "ssh", "uri": None}, ""),
    ({"address": "user@host"}, "address"),
    ({"address": "-oProxyCommand=id"}, "address"),
    ({"ssh_port": 0}, "ssh_port"),
    ({"ssh_port": 70000}, "ssh_port"),
    ({"ssh_user": "ro ot"}, "ssh_user"),
    ({"ssh_key": "relative"}, "ssh_key"),
    ({"pool": "../pool"}, "pool"),
    ({"network": "<n/>"}, "network"),
    ({"virt_type": "xen"}, "virt_type"),
    ({"ratio_cpu": 0}, "ratio_cpu"),
    ({"ratio_cpu": 65}, "ratio_cpu"),
    ({"ratio_memory": "1"}, "ratio_memory"),
    ({"system_reserved_cpus": -1}, "system_reserved_cpus"),
    ({"system_reserved_memory_mb": HUGE}, "system_reserved_memory_mb"),
    ({"max_sandboxes": -1}, "max_sandboxes"),
    ({"reserved_cpus": 0}, "reserved_cpus"),
    ({"state": "ACTIVE"}, "state"),
)


async def test_hosts_are_checked(http: httpx2.AsyncClient) -> None:
    for change, path in HOSTS:
        assert path in _faults(await http.post("/v1/hosts", json={**HOST, **change})), change


VERBS: tuple[tuple[str, dict[str, object], str], ...] = (
    ("/v1/hosts/alpha/drain", {"policy": "migrate"}, "policy"),
    ("/v1/hosts/alpha/drain", {"deadline_seconds": 0}, "deadline_seconds"),
    ("/v1/hosts/alpha/drain", {"reason": "a\x1b[2J"}, "reason"),
    ("/v1/hosts/alpha/cordon", {"reason": "r" * 501}, "reason"),
    ("/v1/hosts/alpha/cordon", {"why": "x"}, "why"),
    ("/v1/sandboxes/box/extend", {}, "ttl_seconds"),
    ("/v1/sandboxes/box/extend", {"ttl_seconds": -5}, "ttl_seconds"),
    ("/v1/sandboxes/box/move", {"to_host": "Kvm 01"}, "to_host"),
    ("/v1/sandboxes/box/move", {"reason": "a\x1b[2J"}, "reason"),
    ("/v1/sandboxes/box/move", {"host": "kvm-01"}, "host"),
    ("/v1/placements/explain", {"base_image": IMAGE, "agent_id": "a"}, "agent_id"),
)


async def test_verbs_are_checked(http: httpx2.AsyncClient) -> None:
    for path, body, fault in VERBS:
        assert fault in _faults(await http.post(path, json=body)), (path, body)
