"""console: what a guest printed reaches a pipe as it was, and a terminal only as text."""

from __future__ import annotations

import subprocess
from base64 import b64encode

import pytest

from scheduler.cli.commands import consoles
from tests.cli.daemon import FaultyDaemon, Reply, sound
from tests.cli.running import PROGRAM, Sandboxctl, environment, on_terminal
from tests.cli.test_following import BOX, ID, RUNNING

HOSTILE = b"\x1b]0;pwned\x07\x1b[0;32m OK \x1b[0m\xff\xe2\x80\xae a\tb\r\n"
ASKED = BOX["created_at"]
COMING = {**BOX, "state": "STARTING", "desired_state": "RUNNING", "queued_at": None}
UP = {**RUNNING, "desired_state": "RUNNING", "queued_at": None}


def printed(data: bytes, **changes: object) -> dict[str, object]:
    """Return a console as the API answers it."""
    return {
        "sandbox_id": ID,
        "boot_at": ASKED,
        "begun_at": ASKED,
        "ended_at": "2026-01-05T12:01:00Z",
        "dropped_bytes": 0,
        "gaps": [],
        "reason": None,
        "text": data.decode("utf-8", "replace"),
        "data": b64encode(data).decode(),
        "updated_at": ASKED,
        **changes,
    }


def gap(offset: int, why: str) -> dict[str, object]:
    return {"offset": offset, "at": f"2026-01-05T12:00:{offset:02}Z", "why": why}


def served(daemon: FaultyDaemon, *documents: Reply, boxes: tuple[object, ...] = (UP,)) -> None:
    """Let the daemon answer a sandbox and its console, one after the other."""
    daemon.on("GET", f"/v1/sandboxes/{ID}", *map(sound, boxes))
    daemon.on("GET", f"/v1/sandboxes/{ID}/console", *documents)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consoles, "_LOOK_SECONDS", 0.01)


def test_a_pipe_gets_the_bytes_as_they_were(daemon: FaultyDaemon) -> None:
    served(daemon, sound(printed(HOSTILE)))
    ran = subprocess.run(
        [*PROGRAM, "console", ID], env=environment(daemon.path), capture_output=True, check=True
    )
    assert (ran.stdout, ran.stderr) == (HOSTILE, b"")


def test_a_terminal_gets_text_and_nothing_that_steers_it(daemon: FaultyDaemon) -> None:
    served(daemon, sound(printed(HOSTILE)))
    ran = on_terminal(daemon.path, "console", ID)
    assert ran.code == 0
    assert "\\x1b]0;pwned\\x07 OK \ufffd\\u202e a\tb" in ran.out
    assert not any(character in ran.out for character in ("\x1b]", "\x07", "\u202e", "\\x0d"))


def test_a_document_is_as_the_api_answers_it(daemon: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    served(daemon, sound(printed(HOSTILE)))
    assert sandboxctl("console", ID, "-o", "json").document == printed(HOSTILE)


def test_what_is_missing_is_told_beside_it_where_it_is(daemon: FaultyDaemon) -> None:
    gaps = [gap(2, "long gone"), gap(10, "the daemon was restarted"), gap(12, "twice")]
    served(
        daemon, sound(printed(b"onetwo", dropped_bytes=7, gaps=gaps, reason="why", ended_at=None))
    )
    ran = on_terminal(daemon.path, "console", ID)
    assert ran.out.splitlines() == [
        "7 bytes before this are not kept",
        "one",
        "something may be missing here: the daemon was restarted",
        "tw",
        "something may be missing here: twice",
        "o",
        "nobody listens: why",
        "its boot is not over; go on with --follow",
    ]


def test_it_is_followed_until_the_boot_is_over(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl
) -> None:
    old = printed(b"of an earlier boot", boot_at="2026-01-05T11:00:00Z")
    absent = sound({"code": "not_found", "detail": "no console", "status": 404}, 404)
    first, more = printed(b"one ", ended_at=None), printed(b"one two ", ended_at=None)
    cut = printed(b"three", dropped_bytes=9, gaps=[gap(11, "again")])
    served(
        daemon,
        *(absent, sound(old), sound(first), sound(more), sound(more), sound(cut)),
        boxes=(COMING, COMING, COMING, COMING, COMING, UP),
    )
    ran = sandboxctl("console", ID, "-f")
    assert (ran.code, ran.out) == (0, "one two three")
    assert ran.err.splitlines() == [
        "1 bytes before this are not kept",
        "something may be missing here: again",
    ]


def test_a_daemon_that_is_away_meanwhile_is_waited_for(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = sound({"code": "unavailable", "detail": "starting", "status": 503}, 503)
    served(daemon, away, sound(printed(b"here")))
    followed = sandboxctl("console", ID, "-f", "-o", "json")
    assert (followed.code, followed.document["text"]) == (0, "here")
    monkeypatch.setattr(consoles, "_PATIENCE_SECONDS", 0.0)
    served(daemon, away)
    assert sandboxctl("console", ID, "-f").code != 0
    # One that never says that the boot is over is not waited for without end.
    served(daemon, sound(printed(b"here", ended_at=None)))
    assert sandboxctl("console", ID, "-f").out == "here"


def test_where_there_is_none_the_remedy_is_shown(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl
) -> None:
    problem = {"code": "not_found", "detail": "no console is kept", "remediation": "start it"}
    for follow in ((), ("--follow",)):
        served(daemon, sound({**problem, "status": 404}, 404))
        ran = sandboxctl("console", ID, *follow)
        assert (ran.code, ran.out) == (3, "")
        assert "start it" in ran.err
