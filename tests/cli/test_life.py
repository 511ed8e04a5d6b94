"""start, stop, retry, delete, extend and wait, against the real application."""

from __future__ import annotations

import asyncio

import pytest

from scheduler.cli.failures import Failure
from scheduler.cli.goals import parse
from scheduler.model import SandboxState
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl, started
from tests.waits import until


async def test_stop_and_start(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "web")
    stopped = await sandboxctl.run("stop", "web", "-o", "json")
    assert (stopped.code, stopped.document["state"]) == (0, "STOPPED")
    told = [line.partition(" ")[2] for line in stopped.err.splitlines()]
    assert told == [
        "stop requested: desired state RUNNING -> STOPPED",
        "RUNNING -> STOPPED: the test says so",
    ], "only what is new is told"
    again = await sandboxctl.run("start", "web", "-o", "json")
    assert (again.code, again.document["state"]) == (0, "RUNNING")
    assert (await sandboxctl.run("start", "web")).code == 0, "there already is fine"


async def test_several_at_once(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    for name in ("one", "two"):
        await sandboxctl.run("create", fleet.image, "--name", name)
    ran = await sandboxctl.run("stop", "one", "two", "one", "-o", "json")
    assert ran.code == 0
    assert sorted(box["sandbox_name"] for box in ran.document) == ["one", "two"]
    assert {box["state"] for box in ran.document} == {"STOPPED"}
    table = await sandboxctl.run("delete", "one", "two", "-y")
    assert [line[2] for line in table.rows] == ["STATE", "DESTROYED", "DESTROYED"]


async def test_a_reference_that_is_wrong_changes_nothing(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "one")
    ran = await sandboxctl.run("delete", "one", "tow", "-y")
    assert ran.code == 3
    assert (await sandboxctl.run("show", "one", "-o", "json")).document["state"] == "RUNNING"


async def test_some_refused_some_done(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "fine")
    fleet.fails = True
    await sandboxctl.run("create", fleet.image, "--name", "sick")
    ran = await sandboxctl.run("start", "sick", "fine", "-o", "json")
    assert ran.code == 5, "the refusal decides"
    assert [box["sandbox_name"] for box in ran.document] == ["fine"]
    assert "cannot be started" in ran.err


async def test_one_that_was_only_to_be_built_is_retried_without_being_started(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "web", "--no-start")
    made = await fleet.plane.services.sandboxes.get("web")
    await fleet.plane.become(made, SandboxState.ERROR)
    again = await sandboxctl.run("retry", "web", "-o", "json")
    assert (again.code, again.document["state"]) == (0, "STOPPED"), again.err


@pytest.mark.parametrize(
    ("box", "outcome"),
    [
        ({"state": "STARTING", "desired_state": "RUNNING"}, False),
        ({"state": "RUNNING", "desired_state": "RUNNING"}, False),
        ({"state": "RUNNING", "desired_state": "RUNNING", "ip_address": "192.0.2.7"}, True),
        ({"state": "DESTROYED", "desired_state": "DESTROYED"}, "has been destroyed"),
        ({"state": "ERROR", "desired_state": "RUNNING"}, "broke"),
        ({"state": "STOPPED", "desired_state": "STOPPED"}, "will not run"),
    ],
)
def test_an_address_is_not_waited_for_in_vain(box: dict[str, str], outcome: object) -> None:
    known = {"id": "SBX-1", "sandbox_name": "web", "reason_code": "x", "reason_message": "broke"}
    found = parse("ip")({**known, **box})
    if isinstance(outcome, bool):
        assert found is outcome
    else:
        assert isinstance(found, Failure)
        assert str(outcome) in found.message


async def test_retry_succeeds_or_fails_anew(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    fleet.fails = True
    await sandboxctl.run("create", fleet.image, "--name", "web")
    again = await sandboxctl.run("retry", "web")
    assert again.code == 1
    assert "ERROR -> STARTING: its owner asked for another attempt" in again.err
    assert "STARTING -> ERROR: the test says so" in again.err
    fleet.fails = False
    assert (await sandboxctl.run("retry", "web")).code == 0
    refused = await sandboxctl.run("retry", "web")
    assert refused.code == 5
    assert "has not failed" in refused.err


async def test_delete_asks_or_wants_a_yes(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "web")
    asked = await sandboxctl.run("delete", "web")
    assert asked.code == 2
    assert "Destroy 1 sandbox (web) needs a yes" in asked.err
    assert "hint: repeat it with -y" in asked.err
    planned = await sandboxctl.run("delete", "web", "--dry-run")
    assert planned.code == 0
    held = {" ".join(line[1:3]) for line in planned.rows[1:]}
    assert {"domain", "allocation"} <= {words.split()[0] for words in held}
    assert "nothing was changed" in planned.err
    documents = await sandboxctl.run("delete", "web", "--dry-run", "-o", "json")
    assert documents.document[0]["sandbox"]["sandbox_name"] == "web"
    assert (await sandboxctl.run("delete", "web", "-y", "--no-wait")).code == 0


async def test_delete_ends_destroyed(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    made = await sandboxctl.run("create", fleet.image, "--name", "web", "-o", "name")
    ran = await sandboxctl.run("delete", "web", "-y", "-o", "json")
    assert (ran.code, ran.document["state"]) == (0, "DESTROYED")
    assert "RUNNING -> DESTROYED" in ran.err
    gone = await sandboxctl.run("show", made.out.strip(), "-o", "json")
    assert gone.document["state"] == "DESTROYED", "a full id still finds it"


async def test_extend(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    await sandboxctl.run("create", fleet.image, "--name", "web", "--ttl", "5m")
    ran = await sandboxctl.run("extend", "web", "--ttl", "2h", "-o", "json")
    assert (ran.code, ran.document["ttl_seconds"]) == (0, 7200)
    await sandboxctl.run("create", fleet.image, "--name", "eternal")
    kept = await sandboxctl.run("extend", "eternal", "--ttl", "2h")
    assert kept.code == 0
    assert "lives without a limit already" in kept.err


async def test_wait_for_state_and_address(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    fleet.idle = True
    await sandboxctl.run("create", fleet.image, "--name", "web", "--no-wait")
    waiting = asyncio.create_task(
        sandboxctl.run("wait", "web", "--for", "state=RUNNING", "--for", "ip", "-o", "json")
    )
    fleet.idle = False
    ran = await waiting
    assert (ran.code, ran.document["state"]) == (0, "RUNNING")
    either = await sandboxctl.run("wait", "web", "--for", "state=stopped,running", "-o", "name")
    assert either.code == 0


async def test_wait_gives_up_on_what_can_no_longer_be(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    made = await sandboxctl.run("create", fleet.image, "--name", "web", "-o", "json")
    sandbox_id = made.document["id"]
    await sandboxctl.run("stop", "web")
    redirected = await sandboxctl.run("wait", "web")
    assert redirected.code == 1
    assert "will not run: it is now meant to be STOPPED" in redirected.err
    either = ("wait", sandbox_id, "--for", "state=RUNNING,ERROR")
    with started(sandboxctl.socket, *either) as waiting:
        await until(lambda: fleet.plane.journal._waiting > 0)
        await sandboxctl.run("delete", "web", "-y")
        _, told = await asyncio.to_thread(waiting.communicate, timeout=180)
    assert waiting.returncode == 1
    assert "has been destroyed" in told


async def test_wait_tells_what_it_can_wait_for(sandboxctl: Sandboxctl) -> None:
    for wish in ("state=GONE", "address", "ip=1"):
        ran = sandboxctl("wait", "web", "--for", wish)
        assert ran.code == 2
        assert "state= one or more of CREATED,STARTING" in " ".join(ran.err.split())


async def test_error_is_waited_for_when_asked(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    fleet.fails = True
    await sandboxctl.run("create", fleet.image, "--name", "web", "--no-wait")
    ran = await sandboxctl.run("wait", "web", "--for", "state=ERROR", "-o", "json")
    assert (ran.code, ran.document["state"]) == (0, SandboxState.ERROR.value)
