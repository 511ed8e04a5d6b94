"""console: what a guest printed reaches a pipe as it was, and a terminal only as text."""

from __future__ import annotations

import io
import subprocess
from base64 import b64encode
from types import SimpleNamespace

import pytest

from scheduler.cli.commands import consoles
from scheduler.cli.commands.consoles import _Told
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


class Screen(io.StringIO):
    """A terminal, and whoever is told beside it."""

    def isatty(self) -> bool:
        return True

    @property
    def narrator(self) -> Screen:
        return self

    def note(self, text: str) -> None:
        self.write(f"<{text}>")


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    monkeypatch.setattr(consoles, "sys", SimpleNamespace(stdout=screen))
    return screen


WORDS = "Gr\u00fc\u00dfe \U0001f389\x1b[0;32m OK\x1b[0m\r\x1b[0m\r\x1b[1m\nnext\x1b[2J\r\n".encode()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, len(WORDS)])
def test_a_terminal_shows_the_same_wherever_two_looks_meet(screen: Screen, size: int) -> None:
    told = _Told(screen)  # type: ignore[arg-type]
    for end in (*range(0, len(WORDS), size), len(WORDS)):
        told.tell(printed(WORDS[:end]))
    assert screen.getvalue() == ("Gr\u00fc\u00dfe \U0001f389 OK\\x0d\nnext\\x1b[2J\n"), (
        "and none of it waits for the end"
    )


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"a\xc3", "a\ufffd"),
        (b"a\r", "a\\x0d"),
        (b"a\x1b", "a\\x1b"),
        (b"a\r\x1b[0m\x1b[3", "a\\x0d\\x1b[3"),
    ],
)
def test_what_nothing_follows_is_shown_at_a_gap_at_the_end_and_before_another_boot(
    screen: Screen, data: bytes, shown: str
) -> None:
    told = _Told(screen)  # type: ignore[arg-type]
    told.tell(printed(data))
    assert screen.getvalue() == "a"
    told.tell(printed(data + b"\xbc\n", gaps=[gap(len(data), "away")]))
    told.tell(printed(data, boot_at="later"))
    told.tell(printed(data, boot_at="last"))
    told.finish()
    told.finish()
    missing = "\n<something may be missing here: away>\ufffd\n"
    assert screen.getvalue() == f"{shown}{missing}{shown}{shown}"


def test_no_more_is_held_back_than_a_colour_is_long(screen: Screen) -> None:
    told = _Told(screen)  # type: ignore[arg-type]
    told.tell(printed(b"\x1b[" + b"0" * 1000))
    assert screen.getvalue() == "\\x1b[" + "0" * 1000


def test_the_last_of_a_console_is_shown_to_a_terminal(daemon: FaultyDaemon) -> None:
    served(daemon, sound(printed(b"login: \xc3")))
    assert on_terminal(daemon.path, "console", ID, "-f").out.strip() == "login: \ufffd"


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
