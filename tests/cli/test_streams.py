"""Streams that are closed or full: told in a line, never by a traceback."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from pathlib import Path

import pytest

from tests.cli.daemon import FaultyDaemon, sound, stream
from tests.cli.running import PROGRAM, Ran, environment
from tests.cli.test_following import RUNNING


def redirected(socket: Path, redirection: str, *arguments: str) -> Ran:
    """Run a process of its own as a shell does that redirects its streams."""
    ran = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, *arguments],
        env=environment(socket),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
def listing(daemon: FaultyDaemon) -> Path:
    """Return the socket of a daemon that lists one sandbox."""
    return daemon.on("GET", "/v1/sandboxes", sound({"items": [RUNNING], "next_cursor": None})).path


def test_without_an_input_or_an_error_output_the_data_comes(listing: Path) -> None:
    for redirection in ("<&-", "2>&-", "<&- 2>&-"):
        ran = redirected(listing, redirection, "list", "-o", "json")
        assert (ran.code, ran.err) == (0, ""), redirection
        assert ran.document[0]["id"] == RUNNING["id"]


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [
        (">&-", "Bad file descriptor"),
        ("<&- >&-", "Bad file descriptor"),
        (">/dev/full", "No space left on device"),
    ],
)
@pytest.mark.parametrize("arguments", [("list",), ("list", "-o", "json"), ("--help",)])
def test_an_output_that_takes_nothing_is_told(
    listing: Path, redirection: str, reason: str, arguments: tuple[str, ...]
) -> None:
    ran = redirected(listing, redirection, *arguments)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"error: the output cannot be used: {reason}\n"


def test_where_nothing_can_be_told_the_exit_code_is(listing: Path) -> None:
    for redirection in (">&- 2>&-", ">/dev/full 2>/dev/full", "<&- >&- 2>&-"):
        assert redirected(listing, redirection, "list") == Ran(1, "", "")


def test_exec_tells_its_own_trouble_from_the_command_s(daemon: FaultyDaemon) -> None:
    """An exit code of 1 would be the command's."""
    said = {"seq": 1, "stream": "stdout", "data": b64encode(b"hello\n").decode()}
    daemon.on("GET", f"/v1/sandboxes/{RUNNING['id']}", sound(RUNNING))
    daemon.on("POST", f"/v1/sandboxes/{RUNNING['id']}/commands", sound({"id": "CMD-1"}, 202))
    daemon.on("STREAM", "/v1/commands/CMD-1/output", stream(said))
    ran = redirected(daemon.path, ">/dev/full", "exec", RUNNING["id"], "--", "echo", "hello")
    assert ran.err == "error: the output cannot be used: No space left on device\n"
    assert ran.code == 125


def test_a_question_needs_an_input(daemon: FaultyDaemon) -> None:
    daemon.on("GET", "/v1/sandboxes/web", sound(RUNNING))
    daemon.on("DELETE", "/v1/sandboxes/web", sound({"sandbox": RUNNING, "volumes": []}))
    ran = redirected(daemon.path, "<&-", "delete", "web")
    assert "Traceback" not in ran.err
    assert ran.code != 0
