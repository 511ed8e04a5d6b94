"""Watching through trouble: silence, goodbyes, restarts, Ctrl-C."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import IO, Any

import pytest

from tests.cli.daemon import (
    FaultyDaemon,
    Reply,
    half,
    held,
    reset,
    serving,
    sound,
    stream,
    text,
)
from tests.cli.running import Sandboxctl, started
from tests.fleet.process import wait_until

ID = "SBX-01KAAAAAAAAAAAAAAAAAAAAAAA"
BOX: dict[str, Any] = {
    "id": ID,
    "sandbox_name": "web",
    "state": "CREATED",
    "desired_state": "RUNNING",
    "phase": "build",
    "created_at": "2026-01-05T12:00:00Z",
    "updated_at": "2026-01-05T12:00:00Z",
    "base_image": "debian",
    "vcpus": 1,
    "memory_mb": 512,
    "storage_mb": 1024,
    "agent_id": "ana",
    "job_id": "JOB-1",
    "network": "default",
    "reason_message": "building",
}
RUNNING = {**BOX, "state": "RUNNING", "phase": None}
NO_MORE = sound({"items": [], "next_cursor": None})


def event(seq: int, to: str, why: str = "why") -> dict[str, Any]:
    """Return the event of a state change."""
    return {
        "seq": seq,
        "at": f"2026-01-05T12:00:{seq:02}Z",
        "kind": "sandbox.state",
        "actor": "system",
        "sandbox_id": ID,
        "message": why,
        "evidence": {"from": "CREATED", "to": to},
    }


def first_line(output: IO[str] | None) -> str:
    """Return the next line that a process writes."""
    assert output is not None
    return output.readline()


def watched(daemon: FaultyDaemon, *records: dict[str, Any]) -> FaultyDaemon:
    """Accept a creation and show these records one after the other."""
    daemon.on("POST", "/v1/sandboxes", sound(BOX, 202))
    daemon.on("GET", "/v1/events", NO_MORE)
    return daemon.on("GET", f"/v1/sandboxes/{ID}", *(sound(record) for record in records))


def test_a_stream_that_ends_is_resumed_where_it_broke_off(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl
) -> None:
    watched(daemon, BOX, BOX, RUNNING)
    daemon.on(
        "STREAM",
        "/v1/events",
        stream(event(1, "STARTING"), hold=False),
        stream(event(2, "RUNNING")),
    )
    ran = sandboxctl("create", "debian")
    assert ran.code == 0
    assert [line.split()[1:4] for line in ran.err.splitlines()] == [
        ["CREATED", "->", "STARTING:"],
        ["CREATED", "->", "RUNNING:"],
    ]
    streams = [seen for seen in daemon.seen if seen.path.startswith("/v1/events")]
    assert streams[0].path == f"/v1/events?sandbox_id={ID}&since=0"
    assert "Last-Event-ID" not in streams[0].headers
    assert streams[1].headers["Last-Event-ID"] == "1"


def test_what_led_to_the_end_is_told_even_when_the_record_is_ahead(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl
) -> None:
    watched(daemon, RUNNING)
    late = sound({"items": [event(2, "STARTING"), event(3, "RUNNING")], "next_cursor": None})
    daemon.on("STREAM", "/v1/events", stream(event(1, "CREATED")))
    daemon.on("GET", "/v1/events", late)
    ran = sandboxctl("create", "debian")
    assert ran.code == 0
    assert ran.err.count("->") == 3
    assert daemon.seen[-1].path == f"/v1/events?sandbox_id={ID}&since=1&limit=500"


@pytest.mark.parametrize("fault", [reset, half, text("", status=503)])
def test_trouble_with_the_stream_is_outlived(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl, fault: Reply
) -> None:
    watched(daemon, BOX, RUNNING)
    daemon.on("STREAM", "/v1/events", fault, stream(event(1, "RUNNING")))
    ran = sandboxctl("create", "debian")
    assert ran.code == 0, ran.err


def test_a_daemon_that_restarts_is_waited_for(socket_path: Path) -> None:
    before = watched(FaultyDaemon(socket_path), BOX)
    before.on("STREAM", "/v1/events", stream(event(1, "STARTING"), hold=False), held)
    after = watched(FaultyDaemon(socket_path), RUNNING)
    after.on("STREAM", "/v1/events", stream(event(2, "RUNNING")))
    with started(socket_path, "create", "debian", "-o", "json") as process:
        with serving(before):
            assert "STARTING" in first_line(process.stderr)
        socket_path.unlink()
        with serving(after):
            out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    assert json.loads(out)["state"] == "RUNNING"
    assert not any(seen.method == "POST" for seen in after.seen)


def test_ctrl_c_detaches_and_says_how_to_watch_on(daemon: FaultyDaemon) -> None:
    watched(daemon, BOX)
    daemon.on("STREAM", "/v1/events", stream(event(1, "STARTING", "building")))
    with started(daemon.path, "create", "debian") as process:
        assert first_line(process.stderr).endswith("CREATED -> STARTING: building\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=180)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines() == [
        "error: detached; the work goes on",
        f"hint: watch it again: sandboxctl wait {ID} --for state=RUNNING",
    ]
    assert not any(seen.method == "DELETE" for seen in daemon.seen)


def test_ctrl_c_before_the_answer_says_that_it_is_unknown(daemon: FaultyDaemon) -> None:
    daemon.on("POST", "/v1/sandboxes", held)
    with started(daemon.path, "create", "debian", "-o", "json") as process:
        wait_until(lambda: bool(daemon.seen) or process.poll() is not None, what="its request")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=180)
    assert process.returncode == 130
    assert json.loads(out)["code"] == "interrupted"
    assert "may have been carried out" in json.loads(out)["detail"]


def test_following_events_ends_quietly_on_ctrl_c(daemon: FaultyDaemon) -> None:
    daemon.on("STREAM", "/v1/events", stream(event(7, "RUNNING")))
    with started(daemon.path, "events", "-f", "-o", "json") as process:
        assert json.loads(first_line(process.stdout))["seq"] == 7, "each event is flushed"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=180)
    assert (process.returncode, out, err) == (130, "", "")


def test_following_events_outlives_restarts_and_tells_each_once(socket_path: Path) -> None:
    before, after = FaultyDaemon(socket_path), FaultyDaemon(socket_path)
    before.on("STREAM", "/v1/events", stream(event(1, "STARTING"), hold=False), held)
    after.on(
        "STREAM", "/v1/events", sound({"code": "unavailable"}, 503), stream(event(2, "RUNNING"))
    )
    with started(socket_path, "events", "-f", "-o", "json") as process:
        with serving(before):
            assert json.loads(first_line(process.stdout))["seq"] == 1
        socket_path.unlink()
        assert "waiting for it" in first_line(process.stderr)
        with serving(after):
            assert first_line(process.stderr) == "the daemon answers again\n"
            assert json.loads(first_line(process.stdout))["seq"] == 2
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=180)
    assert (process.returncode, out, err) == (130, "", "")
    assert [seen.headers["Last-Event-ID"] for seen in after.seen] == ["1", "1"]


def test_following_events_ends_where_some_are_gone(socket_path: Path) -> None:
    before, after = FaultyDaemon(socket_path), FaultyDaemon(socket_path)
    before.on("GET", "/v1/hosts", NO_MORE)
    before.on("STREAM", "/v1/events", stream(event(1, "STARTING"), hold=False), held)
    gone = {"code": "journal_gap", "detail": "they are gone", "remediation": "take stock"}
    after.on("STREAM", "/v1/events", sound(gone, 410))
    with started(socket_path, "events", "-f", "-o", "name") as process:
        with serving(before):
            assert first_line(process.stdout) == "1\n"
        socket_path.unlink()
        first_line(process.stderr)
        with serving(after):
            out, err = process.communicate(timeout=180)
    assert (process.returncode, out) == (1, "")
    assert err.splitlines() == ["error: they are gone", "hint: take stock"]


def test_following_events_does_not_wait_for_a_daemon_that_was_never_there(
    sandboxctl: Sandboxctl,
) -> None:
    ran = sandboxctl("events", "-f", "-o", "json")
    assert (ran.code, json.loads(ran.out)["code"]) == (7, "unreachable")


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        ("table", ["SEQ     TIME", "7       2026"]),
        ("name", ["7"]),
        ("yaml", ["---", "seq: 7"]),
    ],
)
def test_followed_events_come_in_every_form(
    daemon: FaultyDaemon, form: str, lines: list[str]
) -> None:
    daemon.on("GET", "/v1/hosts", NO_MORE)
    daemon.on("STREAM", "/v1/events", stream(event(7, "RUNNING")))
    with started(daemon.path, "events", "--follow", "-o", form) as process:
        for line in lines:
            assert first_line(process.stdout).startswith(line)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=180)
    assert process.returncode == 130


def test_a_reader_that_goes_away_ends_the_command(daemon: FaultyDaemon) -> None:
    daemon.on("GET", "/v1/hosts", NO_MORE)
    daemon.on("STREAM", "/v1/events", stream(*[event(seq % 60, "RUNNING") for seq in range(3000)]))
    with started(daemon.path, "events", "--follow") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=180) == 1
        assert process.stderr.read() == ""
