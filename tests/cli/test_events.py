"""events and api, against the real application."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.cli.daemon import FaultyDaemon, sound, text
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl


async def test_events_are_told_oldest_first(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    made = await sandboxctl.run("create", fleet.image, "--name", "web", "-o", "name")
    ran = await sandboxctl.run("events")
    assert ran.rows[0] == ["SEQ", "TIME", "KIND", "SUBJECT", "ACTOR", "WHAT"]
    assert "alpha" in ran.rows[1], "hosts are told by name"
    assert ran.out.splitlines()[-1].endswith("STARTING -> RUNNING: the test says so")
    last = await sandboxctl.run("events", "-n", "2", "-o", "json")
    assert [event["evidence"]["to"] for event in last.document] == ["STARTING", "RUNNING"]
    since = last.document[0]["seq"]
    rest = await sandboxctl.run("events", "--since", str(since), "-o", "name")
    assert rest.out.split() == [str(last.document[1]["seq"])]
    of_one = await sandboxctl.run("events", "--sandbox", "web", "-o", "json")
    assert {event["sandbox_id"] for event in of_one.document} == {made.out.strip()}
    of_host = await sandboxctl.run("events", "--host", "alpha", "--kind", "host.", "-o", "yaml")
    assert [event["kind"] for event in yaml.safe_load(of_host.out)] == ["host.added"]
    assert (await sandboxctl.run("events", "--actor", "nobody", "-o", "json")).document == []
    assert (await sandboxctl.run("events", "--since", "1", "-n", "1")).code == 2


async def test_events_of_a_period(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "web", "-o", "name")
    everything = (await sandboxctl.run("events", "--since", "0", "-o", "json")).document
    assert (await sandboxctl.run("events", "--since", "2h", "-o", "json")).document == everything
    assert (await sandboxctl.run("events", "--until", "2h", "-o", "json")).document == []
    half = everything[2]["at"]
    late = (await sandboxctl.run("events", "--since", half, "-o", "json")).document
    early = (await sandboxctl.run("events", "--until", half, "-o", "json")).document
    assert early + late == everything
    newest = await sandboxctl.run("events", "--until", half, "-n", "1", "-o", "json")
    assert newest.document == early[-1:]


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("7", "since=7"),
        ("2026-01-05T12:00:00+01:00", "since_time=2026-01-05T11%3A00%3A00%2B00%3A00"),
        ("2026-01-05 12:00", "since_time=2026-01-0"),
    ],
)
def test_since_takes_a_number_or_a_time(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl, given: str, asked: str
) -> None:
    daemon.on("GET", "/v1/events", sound({"items": [], "next_cursor": None}))
    assert sandboxctl("events", "--since", given, "-o", "json").code == 0
    assert daemon.seen[-1].path.startswith(f"/v1/events?{asked}")
    assert "last=" not in daemon.seen[-1].path


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "yesterday"),
        ("--since", "-1"),
        ("--since", "999999999d"),
        ("--until", "7"),
        ("--until", "0001-01-01T00:00:00+09:00"),
        ("--until", "1h", "--follow"),
    ],
)
def test_what_is_no_period_is_refused(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl, arguments: tuple[str, ...]
) -> None:
    ran = sandboxctl("events", *arguments)
    assert ran.code == 2
    assert daemon.seen == []


@pytest.mark.parametrize(
    ("evidence", "kind", "told"),
    [
        ({"from": "UP", "to": "DOWN"}, "host.health", "UP -> DOWN: why"),
        ({"from": "RUNNING", "to": "DESTROYED"}, "sandbox.desired", "is to be DESTROYED: why"),
        ({"from": [], "to": ["paused"]}, "sandbox.condition", "conditions: paused"),
        ({"from": ["paused"], "to": []}, "sandbox.condition", "conditions: none"),
        ({"from": None, "to": None}, "sandbox.lease", "expires: -"),
        ({"from": "a", "to": "b"}, "sandbox.reason", "reason: why"),
        ({}, "clock.stepped", "why"),
    ],
)
def test_each_kind_of_change_is_put_into_words(
    daemon: FaultyDaemon,
    sandboxctl: Sandboxctl,
    evidence: dict[str, object],
    kind: str,
    told: str,
) -> None:
    event = {"seq": 1, "at": "2026-01-05T12:00:00Z", "kind": kind, "actor": "system"}
    event |= {"message": "why", "evidence": evidence, "host_id": "HST-1"}
    daemon.on("GET", "/v1/hosts", sound({"items": [{"id": "HST-1", "name": "alpha"}]}))
    daemon.on("GET", "/v1/events", sound({"items": [event], "next_cursor": None}))
    assert sandboxctl("events").out.rstrip().endswith(f"alpha    system  {told}")


async def test_api_sends_anything(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    hosts = await sandboxctl.run("api", "get", "/v1/hosts?limit=1")
    assert hosts.document["items"][0]["name"] in {"alpha", "beta"}
    as_yaml = await sandboxctl.run("api", "GET", "/v1/hosts/alpha", "-o", "yaml")
    assert yaml.safe_load(as_yaml.out)["name"] == "alpha"
    body = json.dumps({"base_image": fleet.image, "agent_id": "ana", "sandbox_name": "raw"})
    header = ("-H", "Idempotency-Key: once")
    made = await sandboxctl.run("api", "POST", "/v1/sandboxes", "-d", body, *header)
    assert made.document["sandbox_name"] == "raw"
    again = await sandboxctl.run("api", "POST", "/v1/sandboxes", "-d", "@-", *header, stdin=body)
    assert again.document["id"] == made.document["id"]
    refused = await sandboxctl.run("api", "POST", "/v1/sandboxes", "-d", "{}")
    assert refused.code == 2
    assert refused.err.count("agent_id") == 1, "a fault is told once"
    gone = await sandboxctl.run("api", "DELETE", "/v1/sandboxes/raw")
    assert gone.document["desired_state"] == "DESTROYED"


@pytest.mark.parametrize(
    "arguments",
    [
        ("GET", "v1/hosts"),
        ("FETCH", "/v1/hosts"),
        ("POST", "/", "-d", "{"),
        ("POST", "/", "-d", "@/nowhere"),
        ("GET", "/", "-H", "no colon"),
        ("GET", "/", "-H", "a: b\r\nEvil: 1"),
        ("GET", "/ HTTP/1.1\r\nEvil: 1"),
    ],
)
def test_malformed_raw_requests_are_refused(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl, arguments: tuple[str, ...]
) -> None:
    assert sandboxctl("api", *arguments).code == 2
    assert daemon.seen == []


def test_an_answer_that_is_text_is_shown_safely(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl
) -> None:
    daemon.on("GET", "/metrics", text("# HELP\x1b[2J\nup 1\n"))
    assert sandboxctl("api", "GET", "/metrics").out == "# HELP\\x1b[2J\nup 1\n"
    daemon.on("DELETE", "/x", text("", status=204))
    assert sandboxctl("api", "DELETE", "/x").out == ""
