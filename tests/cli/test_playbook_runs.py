"""playbook run on the command line: what is asked, what is shown of each sandbox, how it ends."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

import pytest

from scheduler.control.playbook_player import PlaybookRunner
from scheduler.control.tally import Untold
from scheduler.guests.playbook_players import PlayEnd
from scheduler.model import PlayStatus, Recap
from tests.cli.daemon import FaultyDaemon, Handler, held, sound
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl, started
from tests.control.playing import Guests
from tests.waits import until

BOX = "SBX-01JD0000000000000000000000"
RUN = "RUN-01JD0000000000000000000001"
ALL, ONE = "/v1/playbooks/web/runs", f"/v1/playbook-runs/{RUN}"
COUNTS = dict.fromkeys(
    ("ok", "changed", "unreachable", "failed", "skipped", "rescued", "ignored"), 0
)
WELL = PlayEnd(status=PlayStatus.SUCCEEDED, recap=Recap(ok=3, changed=2), reason=None, log="done")
BADLY = PlayEnd(
    status=PlayStatus.FAILED, recap=Recap(ok=1, failed=1), reason="Need: no", log="fatal: no"
)


def play(status: str, name: str = "one", **fields: object) -> dict[str, Any]:
    return {"sandbox_name": name, "status": status, "recap": None, "reason": None, "log": ""} | {
        **fields
    }


def told(*plays: dict[str, Any], **fields: object) -> dict[str, Any]:
    over = all(one["status"] not in ("WAITING", "PLAYING") for one in plays)
    return {
        "id": RUN,
        "playbook_name": "web",
        "revision": 3,
        "check": False,
        "timeout_seconds": 1200,
        "actor": "uid:1000",
        "asked_at": "2026-03-01T12:00:00Z",
        "ended_at": "2026-03-01T12:05:00Z" if over else None,
        "plays": list(plays),
        **fields,
    }


@pytest.fixture
def web(daemon: FaultyDaemon) -> FaultyDaemon:
    """A daemon with one sandbox that takes a run, which is played when it is looked at."""
    box = {"id": BOX, "sandbox_name": "one", "state": "RUNNING"}
    daemon.on("GET", "/v1/sandboxes", sound({"items": [box], "next_cursor": None}))
    daemon.on("POST", ALL, sound(told(play("WAITING")), 202))
    return daemon.on("POST", f"{ONE}/cancel", sound(told(play("PLAYING")), 202))


async def test_a_playbook_is_played_and_its_recap_is_shown(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    ctl, plane, guests = sandboxctl.run, fleet.plane, Guests()
    poke = plane.journal.poke
    runner = PlaybookRunner(plane.store, plane.clock, player=guests, tally=Untold(), told=poke)
    for name in ("one", "two"):
        made = await ctl("create", fleet.image, "--name", name)
        assert made.code == 0, made.err
    await ctl("playbook", "create", "web")
    guests.ends = {"one": WELL, "two": BADLY}
    running = asyncio.create_task(ctl("playbook", "run", "web", "one", "two", "--timeout", "5m"))
    woken: list[str] = []

    def asked() -> bool:
        woken[:] = [one for one in plane.woken if one.startswith("RUN-")]
        return bool(woken)

    await until(asked, what="the run")
    await runner.play(woken[0])
    ran = await running
    assert ran.code == 1
    assert ["one", "SUCCEEDED", "3", "2", "0", "0", "0", "0", "0", "-"] in ran.rows
    assert ["two", "FAILED", "1", "0", "0", "1", "0", "0", "0", "Need:", "no"] in ran.rows
    assert f"sandboxctl playbook runs web --run {woken[0]}" in ran.err
    assert {order.limit_seconds for _, order in guests.orders} == {300}
    listed = await ctl("playbook", "runs", "web", "-o", "wide")
    assert listed.rows[1][0] == woken[0]
    assert "one SUCCEEDED, two FAILED" in listed.out
    shown = await ctl("playbook", "runs", "web", "--run", woken[0].lower())
    assert shown.code == 0
    assert shown.out.endswith("\n== one\ndone\n\n== two\nfatal: no\n")
    document = await ctl("playbook", "runs", "web", "--run", woken[0], "-o", "json")
    assert document.document["plays"][1]["log"] == "fatal: no"


@pytest.mark.parametrize(
    ("plays", "code"),
    [
        ([play("SUCCEEDED", recap=COUNTS)], 0),
        ([play("SUCCEEDED"), play("UNREACHABLE", "two")], 1),
        ([play("SUCCEEDED"), play("CANCELLED", "two")], 1),
        ([play("INTERRUPTED")], 1),
        ([play("FAILED"), play("TIMED_OUT", "two")], 124),
    ],
)
def test_it_ends_as_the_plays_did(
    web: FaultyDaemon, sandboxctl: Sandboxctl, plays: list[dict[str, Any]], code: int
) -> None:
    web.on("GET", ONE, sound(told(play("PLAYING"))), sound(told(*plays)))
    ran = sandboxctl("playbook", "run", "web", "one", "--check")
    assert ran.code == code, ran.err
    assert ("--run" in ran.err) is (code != 0)
    assert [row[:2] for row in ran.rows[-len(plays) :]] == [
        [one["sandbox_name"], one["status"]] for one in plays
    ]
    (body,) = [seen.body for seen in web.seen if seen.method == "POST"]
    assert body == {"sandboxes": [BOX], "check": True}


def test_without_waiting_it_tells_what_was_taken(web: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    ran = sandboxctl("playbook", "run", "web", "one", "--no-wait")
    assert (ran.code, ran.rows[1][:3]) == (0, [RUN, "3", "-"])
    name = sandboxctl("playbook", "run", "web", "one", "--no-wait", "-o", "name")
    assert name.out == f"{RUN}\n"
    assert not any(seen.path.startswith(ONE) for seen in web.seen)


def test_a_run_is_cancelled_and_its_end_awaited(web: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    web.on("GET", ONE, sound(told(play("PLAYING"))), sound(told(play("CANCELLED"), check=True)))
    ran = sandboxctl("playbook", "cancel", RUN.lower())
    assert ran.code == 0, ran.err
    assert ["one", "CANCELLED"] in [row[:2] for row in ran.rows]
    assert "yes, nothing is changed" in ran.out
    assert sandboxctl("playbook", "cancel", RUN, "-o", "name").out == f"{RUN}\n"


def test_patience_ends(web: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    """A time limit that no daemon has stands for one that is over."""
    web.on("POST", ALL, sound(told(play("WAITING"), timeout_seconds=-4000), 202))
    ran = sandboxctl("playbook", "run", "web", "one")
    assert (ran.code, "stopped waiting; it goes on" in ran.err) == (124, True)


def test_ctrl_c_has_it_played_on(web: FaultyDaemon) -> None:
    looked = threading.Event()

    def looks(handler: Handler) -> None:
        looked.set()
        held(handler)

    web.on("GET", ONE, looks)
    with started(web.path, "playbook", "run", "web", "one") as process:
        assert looked.wait(180)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=180)
    web.released.set()
    assert (process.returncode, out) == (130, "")
    assert err.splitlines() == [
        "error: detached; it is played on",
        f"hint: end it: sandboxctl playbook cancel {RUN}",
    ]
    assert not any("cancel" in seen.path for seen in web.seen)


def test_what_is_not_there_is_told(daemon: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    daemon.on("GET", "/v1/sandboxes", sound({"items": [], "next_cursor": None}))
    assert sandboxctl("playbook", "run", "web", "one").code == 3
    assert sandboxctl("playbook", "runs", "web", "--run", RUN).code == 3
    assert sandboxctl("playbook", "cancel", "nonsense").code == 3
