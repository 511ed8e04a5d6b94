"""The client against a daemon that misbehaves: told plainly, never twice, never a traceback."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from scheduler.cli.client import Client
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.paths import segment
from tests.cli.daemon import FaultyDaemon, half, held, later, not_http, reset, sound, text
from tests.cli.running import Sandboxctl

BOX = {"id": "SBX-01", "state": "CREATED"}


def test_no_socket_says_how_to_start_the_daemon(sandboxctl: Sandboxctl) -> None:
    ran = sandboxctl("list")
    assert ran.code == Exit.UNREACHABLE
    assert ran.out == ""
    assert f"error: no daemon answers at {sandboxctl.socket}" in ran.err
    assert "hint: start it (systemctl start sandboxd)" in ran.err


def test_a_socket_without_a_listener_is_told_apart(sandboxctl: Sandboxctl) -> None:
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(sandboxctl.socket))
    ran = sandboxctl("list")
    assert ran.code == Exit.UNREACHABLE
    assert "nobody listens" in ran.err


def test_a_file_is_no_socket(sandboxctl: Sandboxctl) -> None:
    ran = sandboxctl("list", "--socket", "x" * 200)
    assert ran.code == Exit.UNREACHABLE
    assert "see --socket" in ran.err


@pytest.mark.needs("root")
def test_a_forbidden_socket_names_the_group(daemon: FaultyDaemon) -> None:
    daemon.path.parent.chmod(0o711)
    daemon.path.chmod(0o600)
    os.seteuid(65534)
    try:
        with pytest.raises(Failure) as refused:
            Client(str(daemon.path)).get("/v1/hosts")
    finally:
        os.seteuid(0)
    assert refused.value.exit_code is Exit.NOT_AUTHORISED
    assert "sandboxd-admin" in str(refused.value.hint)


def test_a_lost_answer_is_asked_for_again_under_the_same_key(daemon: FaultyDaemon) -> None:
    daemon.on("POST", "/v1/sandboxes", reset, sound(BOX, 202))
    assert Client(str(daemon.path)).post("/v1/sandboxes", {"agent_id": "a"}) == BOX
    first, second = daemon.seen
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.body == second.body


STARTING = sound({"code": "starting", "detail": "the daemon starts", "retry_after": 1}, 503)


def test_a_daemon_that_starts_is_waited_for(daemon: FaultyDaemon) -> None:
    daemon.on("POST", "/v1/sandboxes", STARTING, STARTING, reset, sound(BOX, 202))
    slept: list[float] = []
    client = Client(str(daemon.path), sleep=slept.append)
    assert client.post("/v1/sandboxes", {"agent_id": "a"}) == BOX
    assert len(slept) == 2
    assert len({one.headers["Idempotency-Key"] for one in daemon.seen}) == 1


def test_one_that_goes_on_starting_is_told(daemon: FaultyDaemon) -> None:
    daemon.on("GET", "/v1/hosts", STARTING)
    slept: list[float] = []
    client = Client(str(daemon.path), starting_seconds=2, sleep=slept.append)
    for passed in (2, 2):
        with pytest.raises(Failure, match="the daemon starts") as refused:
            client.get("/v1/hosts")
        assert refused.value.exit_code is Exit.UNREACHABLE
        assert 2 <= sum(slept) < passed + 0.3, "the next request waits no further"
    slept.clear()
    with pytest.raises(Failure):
        client.impatient().get("/v1/hosts")
    assert slept == []


def test_two_requests_never_share_a_key(daemon: FaultyDaemon) -> None:
    daemon.on("POST", "/v1/sandboxes", sound(BOX, 202))
    client = Client(str(daemon.path))
    client.post("/v1/sandboxes")
    client.post("/v1/sandboxes")
    first, second = daemon.seen
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]


def test_a_connection_that_keeps_breaking_is_given_up_after_one_retry(
    daemon: FaultyDaemon,
) -> None:
    daemon.on("POST", "/v1/sandboxes", reset)
    with pytest.raises(Failure, match="broke before an answer came") as lost:
        Client(str(daemon.path)).post("/v1/sandboxes")
    assert lost.value.exit_code is Exit.UNREACHABLE
    assert "unknown" in lost.value.reasons[0]
    assert len(daemon.seen) == 2


def test_a_change_that_is_not_repeatable_is_sent_once(daemon: FaultyDaemon) -> None:
    daemon.on("PATCH", "/v1/hosts/a", reset)
    with pytest.raises(Failure, match="broke before an answer came"):
        Client(str(daemon.path)).patch("/v1/hosts/a", {}, revision=3)
    assert [seen.headers["If-Match"] for seen in daemon.seen] == ['"3"']


@pytest.mark.parametrize("fault", [half, not_http])
def test_half_and_foreign_answers_are_not_repeated(daemon: FaultyDaemon, fault: object) -> None:
    daemon.on("POST", "/v1/sandboxes", fault)  # type: ignore[arg-type]
    with pytest.raises(Failure, match="broke off or is not HTTP") as garbled:
        Client(str(daemon.path)).post("/v1/sandboxes")
    assert garbled.value.exit_code is Exit.UNREACHABLE
    assert len(daemon.seen) == 1


def test_a_daemon_that_does_not_answer_is_not_waited_for_for_ever(daemon: FaultyDaemon) -> None:
    daemon.on("GET", "/v1/hosts", held)
    with pytest.raises(Failure, match=r"did not answer within 0\.05 s") as late:
        Client(str(daemon.path), answer_seconds=0.05).get("/v1/hosts")
    assert late.value.exit_code is Exit.UNREACHABLE


def test_what_is_asked_to_wait_is_waited_for(daemon: FaultyDaemon) -> None:
    """The daemon says nothing meanwhile, which is no reason to take it for dead."""
    daemon.on("GET", "/v1/commands/CMD-1", later(0.3, {"id": "CMD-1"}))
    client = Client(str(daemon.path), answer_seconds=0.05)
    assert client.get("/v1/commands/CMD-1", wait="20s") == {"id": "CMD-1"}


def test_an_answer_that_is_no_json_is_told(daemon: FaultyDaemon) -> None:
    daemon.on("GET", "/v1/hosts", text("<html>"))
    with pytest.raises(Failure, match="not JSON"):
        Client(str(daemon.path)).get("/v1/hosts")


def test_an_error_that_is_no_problem_document_is_told(daemon: FaultyDaemon) -> None:
    daemon.on("GET", "/v1/hosts", text("upstream\x1b[2J died", status=502))
    with pytest.raises(Failure, match="HTTP status 502: upstream") as failed:
        Client(str(daemon.path)).get("/v1/hosts")
    assert failed.value.exit_code is Exit.FAILED


def test_listings_are_read_page_by_page(daemon: FaultyDaemon) -> None:
    daemon.on(
        "GET",
        "/v1/sandboxes",
        sound({"items": [{"id": "1"}, {"id": "2"}], "next_cursor": "c+/="}),
        sound({"items": [{"id": "3"}], "next_cursor": None}),
    )
    found = list(
        Client(str(daemon.path)).items("/v1/sandboxes", {"state": "RUNNING", "host": None})
    )
    assert [box["id"] for box in found] == ["1", "2", "3"]
    assert [seen.path for seen in daemon.seen] == [
        "/v1/sandboxes?state=RUNNING&limit=500",
        "/v1/sandboxes?state=RUNNING&limit=500&cursor=c%2B%2F%3D",
    ]


def test_a_bounded_listing_stops_early(daemon: FaultyDaemon) -> None:
    daemon.on("GET", "/v1/sandboxes", sound({"items": [{}, {}], "next_cursor": "more"}))
    assert len(list(Client(str(daemon.path)).items("/v1/sandboxes", at_most=2))) == 2
    assert [seen.path for seen in daemon.seen] == ["/v1/sandboxes?limit=2"]


@pytest.mark.parametrize("reference", ["../hosts", "a/b", ".", "..", "a?b=c", "a#b", "%2e", "ä b"])
def test_a_reference_is_one_path_segment(reference: str) -> None:
    escaped = segment(reference)
    assert escaped.isascii()
    assert not set(escaped) & set("/?# ")
    assert escaped not in {".", ".."}


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (404, "not_found", 3),
        (403, "forbidden", 4),
        (409, "conflict", 5),
        (409, "already_exists", 5),
        (412, "stale_revision", 5),
        (422, "invalid", 2),
        (422, "constraint_impossible", 6),
        (507, "capacity_exhausted", 6),
        (429, "quota_exceeded", 6),
        (503, "read_only", 1),
        (500, "internal_error", 1),
    ],
)
def test_problems_have_their_exit_codes_in_every_form(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl, status: int, code: str, exit_code: int
) -> None:
    problem = {
        "code": code,
        "detail": "what happened",
        "remediation": "what next",
        "errors": [{"path": "vcpus", "message": "too many", "remedy": "fewer"}],
    }
    daemon.on("GET", "/v1/hosts", sound(problem, status))
    told = sandboxctl("host", "list")
    assert told.code == exit_code
    assert told.out == ""
    assert told.err.splitlines() == [
        "error: what happened",
        "  vcpus: too many",
        "hint: what next",
    ]
    documented = sandboxctl("host", "list", "-o", "json")
    assert documented.code == exit_code
    assert json.loads(documented.out) == problem
    assert documented.err == ""


def test_hostile_problems_cannot_reach_the_terminal(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl
) -> None:
    evil = "\x1b]0;pwned\x07\u202e"
    problem = {"code": "conflict", "detail": evil, "remediation": evil, "errors": {evil: evil}}
    daemon.on("GET", "/v1/hosts", sound(problem, 409))
    for form in ("table", "json", "yaml", "name"):
        ran = sandboxctl("host", "list", "-o", form)
        assert ran.code == Exit.CONFLICT
        assert (ran.out + ran.err).replace("\n", "").isprintable()


def test_the_option_wins_over_the_environment(
    daemon: FaultyDaemon, tmp_path: Path, sandboxctl: Sandboxctl
) -> None:
    daemon.on("GET", "/v1/hosts", sound({"items": [], "next_cursor": None}))
    elsewhere = Sandboxctl(tmp_path / "nobody.sock")
    assert elsewhere("host", "list", "--socket", str(daemon.path)).code == Exit.OK
    assert elsewhere("--socket", str(daemon.path), "host", "list").code == Exit.OK
    assert elsewhere("host", "list").code == Exit.UNREACHABLE
