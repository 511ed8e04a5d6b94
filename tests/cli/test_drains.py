"""host drain, against the real application."""

from __future__ import annotations

import asyncio

import pytest

from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl, started
from tests.waits import until_answer


async def test_a_drain_is_told_to_its_end(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "web", "--host", "alpha")
    ran = await sandboxctl.run("host", "drain", "alpha", "-y", "--reason", "new disks")
    assert ran.code == 0
    told = [line.partition(" ")[2] for line in ran.err.splitlines()]
    assert told[:2] == ["alpha ACTIVE -> DRAINING: new disks", "alpha drain started: new disks"]
    assert told[2].startswith("web RUNNING -> DESTROYED")
    assert told[-1] == "alpha DRAINING -> DRAINED: drained"
    header, row = ran.rows
    assert dict(zip(header, row, strict=False))["GONE"] == "1/1"
    assert "FINISHED" in row


async def test_a_host_is_drained_by_moving(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "web", "--host", "alpha")
    unasked = await sandboxctl.run("host", "drain", "alpha", "--policy", "move")
    assert "Drain host alpha, policy move needs a yes" in unasked.err
    ran = await sandboxctl.run("host", "drain", "alpha", "-y", "--policy", "move")
    assert ran.code == 0, ran.err
    told = [line.partition(" ")[2] for line in ran.err.splitlines()]
    assert "web move requested: it is to move away from alpha: host alpha is being drained" in told
    assert told.count("web is on beta now") == 1
    assert "alpha DRAINING -> DRAINED: drained" in told
    header, row = ran.rows
    assert dict(zip(header, row, strict=False))["POLICY"] == "move"
    box = (await sandboxctl.run("show", "web", "-o", "json")).document
    assert (box["host_name"], box["desired_state"]) == ("beta", "RUNNING")


async def test_what_ends_while_it_is_to_be_moved_is_on_no_other_host(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "web", "--host", "alpha")
    fleet.stays = True
    with started(sandboxctl.socket, "host", "drain", "alpha", "-y", "--policy", "move") as draining:
        await until_answer(lambda: is_moving(fleet), what="the drain asks for the move")
        await sandboxctl.run("delete", "web", "-y")
        out, told = await asyncio.to_thread(draining.communicate, timeout=60)
    assert draining.returncode == 0, told
    assert "is on" not in told
    assert "1/1" in out


async def is_moving(fleet: Fleet) -> bool:
    """Return whether a move of web is asked for."""
    return (await fleet.plane.services.sandboxes.get("web")).move_asked_at is not None


async def test_a_plan_names_every_sandbox_and_changes_nothing(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    plan = ("host", "drain", "alpha", "--plan")
    assert (await sandboxctl.run(*plan)).out == "nothing is on the host\n"
    made = await sandboxctl.run(
        "create", fleet.image, "--name", "web", "--host", "alpha", "-o", "name"
    )
    ran = await sandboxctl.run(*plan, "--policy", "destroy")
    assert ran.code == 0
    assert ran.rows[1][:5] == ["web", made.out.strip(), "ana", "destroy", "now"]
    assert "1 on the host, 0 blocked, empty as soon as they are gone" in ran.out
    waits = await sandboxctl.run(*plan, "--policy", "expire", "--no-deadline")
    assert "never" in waits.rows[1]
    assert "no_expiry" in waits.out
    assert "nobody knows when it will be empty" in waits.out
    later = await sandboxctl.run(*plan, "--policy", "expire", "--deadline", "2h")
    assert "empty in 1h59m" in later.out
    assert (await sandboxctl.run(*plan, "-o", "name")).out == made.out
    planned = await sandboxctl.run(*plan, "-o", "json")
    assert planned.document["actions"][0]["sandbox_name"] == "web"
    host = await sandboxctl.run("host", "show", "alpha", "-o", "json")
    assert host.document["state"] == "ACTIVE"


async def test_without_a_terminal_a_drain_wants_a_yes(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("host", "drain", "alpha")
    assert ran.code == 2
    assert "Drain host alpha, policy destroy needs a yes" in ran.err


async def test_detach_abort_undo(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    fleet.idle = True
    begun = await sandboxctl.run("host", "drain", "alpha", "-y", "--detach", "-o", "json")
    assert (begun.code, begun.document["state"]) == (0, "ACTIVE")
    assert "hint: watch it: sandboxctl host drain alpha --monitor" in begun.err
    other = await sandboxctl.run("host", "drain", "alpha", "-y", "--policy", "expire")
    assert other.code == 5
    impatient = await sandboxctl.run("host", "drain", "alpha", "--monitor", "--timeout", "0s")
    assert impatient.code == 124
    assert "--monitor" in impatient.err
    aborted = await sandboxctl.run("host", "drain", "alpha", "--abort", "-o", "json")
    assert (aborted.document["state"], aborted.document["host_state"]) == ("ABORTED", "CORDONED")
    monitored = await sandboxctl.run("host", "drain", "alpha", "--monitor")
    assert monitored.code == 8
    assert "was called off" in monitored.err
    fleet.idle = False
    assert (await sandboxctl.run("host", "drain", "alpha", "-y")).code == 0
    undone = await sandboxctl.run("host", "drain", "alpha", "--undo")
    assert undone.code == 0
    assert "ACTIVE" in undone.out


@pytest.mark.parametrize(
    "options",
    [
        ("--plan", "--monitor"),
        ("--abort", "--undo"),
        ("--deadline", "1h", "--no-deadline"),
        ("--abort", "--policy", "stop"),
        ("--monitor", "--reason", "x"),
    ],
)
def test_what_contradicts_itself_is_refused(
    sandboxctl: Sandboxctl, options: tuple[str, ...]
) -> None:
    assert sandboxctl("host", "drain", "alpha", *options).code == 2


async def test_a_drain_that_never_was(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("host", "drain", "alpha", "--monitor")
    assert ran.code == 3
    assert "never been drained" in ran.err


async def test_leftovers_have_their_own_exit_code(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "web", "--host", "alpha")
    fleet.keeps = True
    ran = await sandboxctl.run("host", "drain", "alpha", "-y", "--on-deadline", "keep")
    assert ran.code == 8
    assert "0/1" in ran.out
