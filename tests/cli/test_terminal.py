"""On a terminal: colours, a spinner and questions; everywhere else not one escape sequence."""

from __future__ import annotations

import pytest

from tests.cli.daemon import FaultyDaemon, held, sound, stream
from tests.cli.running import Sandboxctl, on_terminal
from tests.cli.test_following import BOX, ID, RUNNING, event, watched

ESCAPE = "\x1b["
HIDE_CURSOR = "\x1b[?25l"
EVIL = "\x1b]0;pwned\x07\u202e"


def listed(daemon: FaultyDaemon, **changes: object) -> FaultyDaemon:
    """Let the daemon list one sandbox."""
    box = {**RUNNING, **changes}
    return daemon.on("GET", "/v1/sandboxes", sound({"items": [box], "next_cursor": None}))


def test_a_terminal_gets_colours_a_pipe_gets_none(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl
) -> None:
    listed(daemon)
    drawn = on_terminal(daemon.path, "list")
    assert drawn.code == 0
    assert f"{ESCAPE}32mRUNNING" in drawn.out
    assert ESCAPE not in sandboxctl("list").out


@pytest.mark.parametrize("taste", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colours_gets_plain_columns(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl, taste: dict[str, str]
) -> None:
    listed(daemon)
    assert on_terminal(daemon.path, "list", **taste).out == sandboxctl("list").out


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "name"])
def test_hostile_records_cannot_command_the_terminal(daemon: FaultyDaemon, form: str) -> None:
    listed(daemon, id=f"SBX-{EVIL}", sandbox_name=EVIL, reason_message=EVIL, labels={EVIL: EVIL})
    ran = on_terminal(daemon.path, "list", "-o", form)
    assert ran.code == 0
    assert "pwned" in ran.out
    assert not any(character in ran.out for character in ("\x1b]", "\x07", "\u202e"))


def test_hostile_events_cannot_command_the_terminal(daemon: FaultyDaemon) -> None:
    watched(daemon, RUNNING)
    daemon.on("STREAM", "/v1/events", stream(event(1, EVIL, EVIL)))
    ran = on_terminal(daemon.path, "create", "debian")
    assert ran.code == 0
    assert "pwned" in ran.out
    assert not any(character in ran.out for character in ("\x1b]", "\x07", "\u202e"))


def test_a_spinner_turns_on_a_terminal_only(daemon: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    def begin() -> None:
        watched(daemon, BOX, RUNNING)
        first, last = event(1, "STARTING", "building"), event(2, "RUNNING")
        daemon.on("STREAM", "/v1/events", stream(first, last))

    begin()
    drawn = on_terminal(daemon.path, "create", "debian")
    assert drawn.code == 0
    assert HIDE_CURSOR in drawn.out
    assert "CREATED -> STARTING: building" in drawn.out
    begin()
    plain = sandboxctl("create", "debian")
    assert plain.code == 0
    assert ESCAPE not in plain.err


def test_a_question_is_asked_and_no_means_no(daemon: FaultyDaemon) -> None:
    daemon.on("GET", f"/v1/sandboxes/{ID}", sound(RUNNING))
    daemon.on(
        "DELETE", f"/v1/sandboxes/{ID}", sound({**RUNNING, "desired_state": "DESTROYED"}, 202)
    )
    no = on_terminal(daemon.path, "delete", ID, "--no-wait", prompt="[y/N]", typed="n\n")
    assert no.code == 2
    assert "Destroy 1 sandbox (web)?" in no.out
    assert "not done: you said no" in no.out
    assert all(seen.method == "GET" for seen in daemon.seen)
    yes = on_terminal(daemon.path, "delete", ID, "--no-wait", prompt="[y/N]", typed="y\n")
    assert yes.code == 0
    assert daemon.seen[-1].method == "DELETE"


def test_ctrl_c_at_a_question_changes_nothing(daemon: FaultyDaemon) -> None:
    daemon.on("GET", f"/v1/sandboxes/{ID}", sound(RUNNING))
    ran = on_terminal(daemon.path, "delete", ID, prompt="[y/N]", typed="\x03")
    assert ran.code == 130
    assert all(seen.method == "GET" for seen in daemon.seen)


def test_a_drain_shows_its_plan_before_it_asks(daemon: FaultyDaemon) -> None:
    action = {"sandbox_id": ID, "sandbox_name": "web", "agent_id": "ana", "verb": "destroy"}
    plan: dict[str, object] = {
        "actions": [{**action, "due_at": None, "blocker": "host_unreachable, DOWN"}]
    }
    plan |= {"blockers": ["web: host_unreachable"], "eta": None}
    daemon.on("POST", "/v1/hosts/alpha/drain", sound(plan))
    ran = on_terminal(daemon.path, "host", "drain", "alpha", prompt="[y/N]", typed="n\n")
    assert ran.code == 2
    assert ran.out.index("host_unreachable") < ran.out.index("Drain host alpha")
    assert [seen.path for seen in daemon.seen] == ["/v1/hosts/alpha/drain?dry_run=true"]


def test_a_failure_on_a_terminal_reads_the_same(daemon: FaultyDaemon) -> None:
    problem = {"code": "conflict", "detail": EVIL, "remediation": "wait"}
    daemon.on("GET", "/v1/hosts", sound(problem, 409))
    ran = on_terminal(daemon.path, "host", "list")
    assert ran.code == 5
    assert "\\x1b]0;pwned\\x07\\u202e" in ran.out
    assert "hint:" in ran.out


def test_waiting_for_a_silent_daemon_can_be_interrupted(daemon: FaultyDaemon) -> None:
    watched(daemon, BOX)
    daemon.on("STREAM", "/v1/events", held)
    ran = on_terminal(daemon.path, "create", "debian", "--timeout", "0s")
    assert ran.code == 124
