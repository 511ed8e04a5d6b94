"""move and wait --for moved, against the real application; what people are shown of moves."""

from __future__ import annotations

import asyncio
import io
import signal
from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler.cli.failures import Failure
from scheduler.cli.goals import parse
from scheduler.cli.printing import Format, Printer
from scheduler.cli.tables import Cell
from scheduler.cli.views import drains, images, sandboxes
from scheduler.model import SandboxState
from tests.cli.fleet import ADDRESS, OTHER_ADDRESS, Fleet
from tests.cli.running import Sandboxctl, started
from tests.service.snapshots_taken import before_and_after
from tests.waits import until, until_answer

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
async def web(fleet: Fleet, sandboxctl: Sandboxctl) -> str:
    """A sandbox that is up on alpha; its id."""
    made = await sandboxctl.run(
        "create", fleet.image, "--name", "web", "--host", "alpha", "-o", "name"
    )
    assert made.code == 0, made.err
    return made.out.strip()


async def test_a_move_is_told_to_its_end(fleet: Fleet, sandboxctl: Sandboxctl, web: str) -> None:
    ran = await sandboxctl.run("move", "web", "--reason", "new fan", "-o", "json")
    assert ran.code == 0, ran.err
    box = ran.document
    assert (box["id"], box["state"], box["host_name"]) == (web, "RUNNING", "beta")
    assert box["move_asked_at"] is None
    told = [line.partition(" ")[2] for line in ran.err.splitlines()[:-1]]
    assert told[0] == "move requested: it is to move away from alpha: new fan"
    assert told[1].startswith("RUNNING -> STOPPED")
    assert any("moved from alpha with its disk; placed on beta" in line for line in told)
    assert told[-1].startswith("STARTING -> RUNNING")
    note = ran.err.splitlines()[-1]
    assert note == f"its address is {OTHER_ADDRESS} now; it was {ADDRESS}"
    shown = await sandboxctl.run("show", "web")
    assert "moved here:" in shown.out


async def test_one_that_is_stopped_stays_stopped(
    fleet: Fleet, sandboxctl: Sandboxctl, web: str
) -> None:
    await sandboxctl.run("stop", "web")
    ran = await sandboxctl.run("move", "web", "--to", "beta", "-o", "json")
    assert (ran.code, ran.document["state"], ran.document["host_name"]) == (0, "STOPPED", "beta")


async def test_a_dry_run_shows_the_decision(fleet: Fleet, sandboxctl: Sandboxctl, web: str) -> None:
    ran = await sandboxctl.run("move", "web", "--dry-run")
    assert ran.code == 0, ran.err
    assert ["host:", "beta"] in ran.rows
    assert "would move web from alpha to beta; nothing was changed" in ran.err
    assert (await sandboxctl.run("move", "web", "--dry-run", "-o", "name")).out == "beta\n"
    planned = await sandboxctl.run("move", "web", "--dry-run", "-o", "json")
    assert planned.document["host_name"] == "beta"
    box = (await sandboxctl.run("show", "web", "-o", "json")).document
    assert (box["host_name"], box["state"], box["move_asked_at"]) == ("alpha", "RUNNING", None)


async def test_it_is_asked_for_shown_and_called_off(
    fleet: Fleet, sandboxctl: Sandboxctl, web: str
) -> None:
    fleet.stays = True
    asked = await sandboxctl.run("move", "web", "--to", "beta", "--reason", "new fan", "--no-wait")
    assert asked.code == 0
    assert asked.rows[1][3:6] == ["alpha", "->", "beta"]
    shown = await sandboxctl.run("show", "web")
    assert "to beta, asked for" in shown.out
    assert shown.out.split("to beta, asked for")[1].splitlines()[0].endswith("ago): new fan")
    off = await sandboxctl.run("move", "web", "--cancel", "-o", "json")
    assert (off.code, off.document["state"], off.document["host_name"]) == (0, "RUNNING", "alpha")
    assert "move cancelled: it stays on alpha" in off.err
    late = await sandboxctl.run("move", "web", "--cancel")
    assert late.code == 5
    assert "is not being moved" in late.err


async def test_one_that_somebody_else_calls_off_has_not_moved(
    fleet: Fleet, sandboxctl: Sandboxctl, web: str
) -> None:
    fleet.stays = True
    with started(sandboxctl.socket, "move", "web") as moving:
        await is_stopped(fleet)
        off = await sandboxctl.run("move", "web", "--cancel")
        assert off.code == 0
        _, told = await asyncio.to_thread(moving.communicate, timeout=60)
    assert moving.returncode == 1
    assert "web is on alpha as before: its move was called off" in told


async def test_one_that_came_back_was_not_called_off(
    fleet: Fleet, sandboxctl: Sandboxctl, web: str
) -> None:
    fleet.returns = True
    ran = await sandboxctl.run("move", "web", "-o", "json")
    assert (ran.code, ran.document["host_name"], ran.document["state"]) == (0, "alpha", "RUNNING")
    assert "called off" not in ran.err


async def test_interrupted_it_goes_on_and_is_taken_up_again(
    fleet: Fleet, sandboxctl: Sandboxctl, web: str
) -> None:
    fleet.stays = True
    with started(sandboxctl.socket, "move", "web") as moving:
        await is_stopped(fleet)
        await until(lambda: fleet.plane.journal._waiting > 0)
        moving.send_signal(signal.SIGINT)
        _, told = await asyncio.to_thread(moving.communicate, timeout=60)
    assert moving.returncode == 130
    assert f"hint: watch it again: sandboxctl wait {web} --for moved" in told
    hurried = await sandboxctl.run("wait", "web", "--for", "moved", "--timeout", "0s")
    assert hurried.code == 124
    fleet.stays = False
    ran = await sandboxctl.run("wait", "web", "--for", "moved", "-o", "json")
    assert (ran.code, ran.document["host_name"], ran.document["state"]) == (0, "beta", "RUNNING")


async def test_a_refusal_shows_what_to_do(fleet: Fleet, sandboxctl: Sandboxctl, web: str) -> None:
    kept = await sandboxctl.run("create", fleet.image, "--name", "kept", "-o", "name")
    sandbox = await fleet.plane.services.sandboxes.get(kept.out.strip())
    await before_and_after(fleet.plane, sandbox)
    ran = await sandboxctl.run("move", "kept")
    assert ran.code == 5
    assert "has snapshots" in ran.err
    assert "hint: delete them first" in ran.err
    assert (await sandboxctl.run("move", "web", "--to", "nowhere")).code == 3


async def test_without_room_elsewhere_every_host_is_told(
    fleet: Fleet, sandboxctl: Sandboxctl, web: str
) -> None:
    await sandboxctl.run("host", "cordon", "beta")
    for options in ((), ("--dry-run",)):
        ran = await sandboxctl.run("move", "web", *options)
        assert ran.code == 6
        assert any(line.startswith("beta ") for line in ran.err.splitlines()), ran.err
    box = (await sandboxctl.run("show", "web", "-o", "json")).document
    assert (box["state"], box["move_asked_at"]) == ("RUNNING", None), "no guest stops for nothing"


async def test_one_that_is_destroyed_meanwhile_has_not_moved(
    fleet: Fleet, sandboxctl: Sandboxctl, web: str
) -> None:
    fleet.stays = True
    with started(sandboxctl.socket, "move", "web") as moving:
        await is_stopped(fleet)
        await sandboxctl.run("delete", "web", "-y")
        _, told = await asyncio.to_thread(moving.communicate, timeout=60)
    assert moving.returncode == 1
    assert "web has been destroyed" in told


@pytest.mark.parametrize("more", [("--to", "beta"), ("--reason", "x"), ("--dry-run",)])
def test_calling_off_takes_nothing_else(sandboxctl: Sandboxctl, more: tuple[str, ...]) -> None:
    ran = sandboxctl("move", "web", "--cancel", *more)
    assert ran.code == 2
    assert "--cancel takes neither" in ran.err


@pytest.mark.parametrize(
    ("box", "outcome"),
    [
        ({"state": "RUNNING", "desired_state": "RUNNING", "move_asked_at": "x"}, False),
        ({"state": "STOPPED", "desired_state": "RUNNING", "move_asked_at": "x"}, False),
        ({"state": "STOPPED", "desired_state": "STOPPED", "move_asked_at": "x"}, False),
        ({"state": "CREATED", "desired_state": "RUNNING", "move_asked_at": None}, False),
        ({"state": "RUNNING", "desired_state": "RUNNING", "move_asked_at": None}, True),
        ({"state": "STOPPED", "desired_state": "STOPPED"}, True),
        ({"state": "ERROR", "desired_state": "RUNNING", "phase": "build"}, False),
        ({"state": "ERROR", "desired_state": "RUNNING"}, "broke"),
        ({"state": "DESTROYED", "desired_state": "DESTROYED"}, "has been destroyed"),
    ],
)
def test_a_move_is_over_when_nobody_wishes_it_and_all_is_as_it_is_to_be(
    box: dict[str, str], outcome: object
) -> None:
    known = {"id": "SBX-1", "sandbox_name": "web", "reason_code": "x", "reason_message": "broke"}
    found = parse("moved")({**known, **box})
    if isinstance(outcome, bool):
        assert found is outcome
    else:
        assert isinstance(found, Failure)
        assert str(outcome) in found.message


def test_where_it_is_to_go_stands_beside_where_it_is() -> None:
    host = next(one for one in sandboxes.view(NOW).columns if one.header == "HOST")
    asked = {"host_name": "alpha", "move_asked_at": "2026-01-05T11:00:00Z"}
    assert host.cell({"host_name": "alpha"}) == Cell("alpha")
    assert host.cell({**asked, "move_to": "beta"}) == Cell("alpha -> beta", "yellow")
    assert host.cell({**asked, "move_to": None}) == Cell("alpha -> another", "yellow")


def test_an_image_tells_whose_disk_it_is() -> None:
    column = next(one for one in images.view(NOW).columns if one.header == "OF")
    assert column.cell({}) == "-"
    assert column.cell({"owner_sandbox_id": "SBX-1", "owner_sandbox_name": "web"}) == "web"
    assert column.cell({"owner_sandbox_id": "SBX-1", "owner_sandbox_name": None}) == "SBX-1"


def test_an_image_shows_whose_disk_it_is() -> None:
    image = {
        "name": "web-move",
        "state": "READY",
        "created_at": "2026-01-05T11:00:00Z",
        "clones": ["SBX-1"],
        "replicas": [],
        "owner_sandbox_id": "SBX-1",
        "owner_sandbox_name": "web",
    }
    unknown = ("id", "digest", "format", "size_bytes", "virtual_bytes", "actor", "reason")
    rest: dict[str, Any] = dict.fromkeys((*unknown, "source_vm", "source_volume"))
    stream = io.StringIO()
    images.draw(Printer(stream, Format.TABLE, drawn=False), {**rest, **image})
    assert "disk of:   web (SBX-1), moved with it\n" in stream.getvalue()


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ({"verb": "move"}, ["move", "once", "moved", "-"]),
        ({"verb": "move", "moving": True}, ["moving", "once", "moved", "-"]),
        ({"verb": "wait"}, ["wait", "in", "its", "turn", "-"]),
        ({"verb": "wait", "blocker": "stays"}, ["wait", "never", "stays"]),
        ({"verb": "move", "due_at": "2026-01-05T14:00:00Z"}, ["move", "in", "2h", "-"]),
        ({"verb": "destroy", "due_at": "2026-01-05T11:00:00Z"}, ["destroy", "now", "-"]),
    ],
)
def test_nobody_knows_when_a_move_ends(action: dict[str, Any], told: list[str]) -> None:
    known = {"sandbox_name": "web", "sandbox_id": "SBX-1", "agent_id": "ana"}
    stream = io.StringIO()
    plan = {"policy": "move", "actions": [{**known, **action}]}
    drains.draw_plan(Printer(stream, Format.TABLE, drawn=False), plan, NOW)
    assert stream.getvalue().splitlines()[1].split()[3:] == told


async def is_stopped(fleet: Fleet) -> None:
    """Wait until the guest of web is shut down for its move."""

    async def stopped() -> bool:
        box = await fleet.plane.services.sandboxes.get("web")
        return box.state is SandboxState.STOPPED

    await until_answer(stopped, what="web is shut down")
