"""audit, orphan, forget and rebuild from the shell, against the real application."""

from __future__ import annotations

import json

import pytest

from scheduler.model import DomainState, HostHealth
from tests.cli.daemon import FaultyDaemon, sound
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl
from tests.service.machines import Machine, built, lost, machine, move

NOW = ("--wait", "0s")


@pytest.fixture
async def alpha(fleet: Fleet) -> Machine:
    """The machine behind alpha; beta was seen, and holds nothing."""
    (await machine(fleet.plane, "beta")).see(times=2)
    return await machine(fleet.plane)


async def test_a_clean_fleet_exits_with_zero(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    alpha.see(times=2)
    ran = await sandboxctl.run("audit", *NOW)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "clean: 2 hosts audited")
    assert [row[:2] for row in ran.rows if row and row[0] in ("alpha", "beta")] == [
        ["alpha", "yes"],
        ["beta", "yes"],
    ]


async def test_findings_exit_with_eight_and_say_what_to_do(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    fleet.idle = True
    box = await built(alpha, await fleet.plane.create(host="alpha"))
    alpha.domains.clear()
    gone = lost(alpha)
    alpha.see(times=2)
    ran = await sandboxctl.run("audit", *NOW)
    assert ran.code == 8
    assert "domain_missing" in ran.out
    assert box.id in ran.out
    assert "no_record" in ran.out
    assert ran.out.splitlines()[-1] == "not clean: 1 findings, 1 orphans"
    names = await sandboxctl.run("audit", *NOW, "-o", "name")
    assert names.out.split() == [box.domain_uuid, gone.domain_uuid]
    document = (await sandboxctl.run("audit", *NOW, "-o", "json")).document
    assert document["clean"] is False


async def test_a_host_that_was_not_seen_is_no_clean_bill(
    fleet: Fleet, sandboxctl: Sandboxctl
) -> None:
    ran = await sandboxctl.run("audit", *NOW)
    assert ran.code == 8
    assert "not clean: 2 hosts not wholly audited" in ran.out
    assert "not been listed" in ran.out


async def test_healing_tells_what_it_did(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    fleet.idle = True
    sandbox = await fleet.plane.create(host="alpha")
    await fleet.plane.bury(sandbox)
    alpha.holds(sandbox)
    alpha.see(times=2)
    dry = await sandboxctl.run("audit", *NOW)
    assert "hint: some of it can be mended: sandboxctl audit --heal" in dry.err
    ran = await sandboxctl.run("audit", "--heal", *NOW)
    assert f"removing what {sandbox.id} left on alpha" in ran.err
    assert (ran.code, "leftover" in ran.out) == (8, True), "not gone yet: nobody carried it out"
    alpha.domains.clear()
    alpha.volumes.clear()
    alpha.see(times=2)

    def strike(tx: object) -> None:
        for volume in tx.volumes.of_owner(sandbox.id):  # type: ignore[attr-defined]
            tx.volumes.remove(volume.host_id, volume.pool, volume.name)  # type: ignore[attr-defined]

    await fleet.plane.store.submit(strike)
    healed = await sandboxctl.run("audit", "--heal", *NOW, "-o", "json")
    assert (healed.code, healed.document["after"]["clean"]) == (0, True)


def test_what_waits_for_the_budget_is_told(sandboxctl: Sandboxctl, daemon: FaultyDaemon) -> None:
    after = {"clean": True, "findings": [], "orphans": [], "hosts": []}
    healed = {"counters": ["alpha"], "condemned": [], "held": 3, "after": after}
    daemon.on("POST", "/v1/audit/heal", sound(healed))
    ran = sandboxctl("audit", "--heal")
    assert ran.code == 0
    assert "set the counters of alpha right" in ran.err
    assert "3 more wait for the budget" in ran.err
    assert "wait=10s" in daemon.seen[-1].path


async def test_orphans_are_listed_with_what_can_be_done(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    empty = await sandboxctl.run("orphan", "list", *NOW)
    assert (empty.code, "none were seen" in empty.err) == (0, True)
    gone = lost(alpha)
    alpha.see()
    ran = await sandboxctl.run("orphan", "list", *NOW)
    assert ran.rows[1][:6] == ["alpha", "domain", "lost", gone.domain_uuid, "running", "no_record"]
    assert ran.rows[1][6] == "adopt,reap"


@pytest.mark.parametrize("by", ["name", "uuid", "beginning"])
async def test_an_orphan_is_adopted_and_watched_until_it_runs(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine, by: str
) -> None:
    gone = lost(alpha)
    alpha.see()
    uuid = str(gone.domain_uuid)
    reference = {"name": "lost", "uuid": uuid.upper(), "beginning": uuid[:8]}[by]
    ran = await sandboxctl.run("orphan", "adopt", "alpha", reference, *NOW, "-o", "json")
    assert (ran.code, ran.document["id"], ran.document["state"]) == (0, gone.id, "RUNNING")
    again = await sandboxctl.run("orphan", "adopt", "alpha", reference, *NOW)
    assert (again.code, "no orphaned domain" in again.err) == (3, True)


async def test_an_orphan_too_large_needs_force(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    lost(alpha, vcpus=9)
    alpha.see()
    refused = await sandboxctl.run("orphan", "adopt", "alpha", "lost", *NOW)
    assert refused.code == 5
    assert "force" in refused.err
    forced = await sandboxctl.run(
        "orphan", "adopt", "alpha", "lost", "--force", "--reason", "it runs", "--no-wait", *NOW
    )
    assert forced.code == 0


async def test_a_crashed_orphan_is_not_waited_for(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    alpha.holds(lost(alpha), DomainState.CRASHED)
    alpha.see()
    ran = await sandboxctl.run("orphan", "adopt", "alpha", "lost", *NOW)
    assert (ran.code, "sandboxctl retry" in ran.err) == (0, True)


async def test_reaping_asks_first_and_ends_with_nothing(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    gone = lost(alpha)
    alpha.see()
    unasked = await sandboxctl.run("orphan", "reap", "alpha", "lost", *NOW)
    assert (unasked.code, "repeat it with -y" in unasked.err) == (2, True)
    ran = await sandboxctl.run("orphan", "reap", "alpha", "lost", "-y", *NOW, "-o", "json")
    assert (ran.code, ran.document["id"], ran.document["state"]) == (0, gone.id, "DESTROYED")


async def test_reaping_what_a_destroyed_one_left_says_so(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    fleet.idle = True
    sandbox = await fleet.plane.create(host="alpha", sandbox_name="revenant")
    await fleet.plane.bury(sandbox)
    alpha.holds(sandbox)
    alpha.see()
    ran = await sandboxctl.run("orphan", "reap", "alpha", "revenant", "-y", *NOW)
    assert ran.code == 0
    assert f"what is of {sandbox.id} on alpha is being removed" in ran.err


async def test_reaping_a_copy_does_not_wait_for_the_sandbox_to_end(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    box = await fleet.plane.create(host="beta", sandbox_name="web")
    alpha.holds(box)
    alpha.see()
    ran = await sandboxctl.run("orphan", "reap", "alpha", "web", "-y", *NOW, "-o", "json")
    assert (ran.code, ran.document["id"], ran.document["host_name"]) == (0, box.id, "beta")
    assert ran.document["desired_state"] == "RUNNING"


async def test_a_beginning_that_fits_several_is_refused(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    lost(alpha, "one")
    lost(alpha, "two")
    alpha.see()
    ran = await sandboxctl.run("orphan", "reap", "alpha", "", "-y", *NOW)
    assert (ran.code, "beginning of 2 UUIDs" in ran.err) == (2, True)


async def test_a_rebuild_is_shown_done_and_repeated(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    gone = lost(alpha)
    alpha.see(times=2)
    dry = await sandboxctl.run("rebuild", "--dry-run", *NOW)
    assert (dry.code, "1 would be restored, 0 blocked" in dry.err) == (0, True)
    assert (await sandboxctl.run("show", gone.id)).code == 3
    ran = await sandboxctl.run("rebuild", "--reason", "the disk died", *NOW)
    assert (ran.code, ran.rows[1][:5]) == (0, ["lost", gone.id, "alpha", "running", "restored"])
    assert (await sandboxctl.run("show", "lost", "-o", "json")).document["id"] == gone.id
    again = await sandboxctl.run("rebuild", *NOW, "-o", "name")
    assert (again.code, again.out) == (0, "")


async def test_a_rebuild_that_leaves_something_exits_with_eight(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    lost(alpha, vcpus=9)
    alpha.see()
    ran = await sandboxctl.run("rebuild", *NOW)
    assert ran.code == 8
    assert "blocked" in ran.out
    assert "force" in ran.out
    await fleet.plane.add_host("gamma")
    forced = await sandboxctl.run("rebuild", "--force", *NOW)
    assert forced.code == 8
    assert "gamma" in forced.out, "a host that was not seen is named"


async def test_forgetting_names_what_may_be_left_and_asks(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    fleet.idle = True
    box = await built(alpha, await fleet.plane.create(host="alpha", sandbox_name="web"))
    dry = await sandboxctl.run("forget", "web", "--dry-run")
    assert (dry.code, "in the way without --force: host alpha is UP" in dry.err) == (0, True)
    assert f"default/{box.id.lower()}.qcow2" in dry.out
    unasked = await sandboxctl.run("forget", "web")
    assert unasked.code == 2
    assert f"Its domain {box.domain_uuid} and 2 volumes may be left on alpha" in unasked.err
    refused = await sandboxctl.run("forget", "web", "-y")
    assert (refused.code, "delete it" in refused.err) == (5, True)
    await fleet.plane.poll(alpha.host, health=HostHealth.DOWN)
    ran = await sandboxctl.run("forget", "web", "-y", "--reason", "it burned", "-o", "json")
    assert (ran.code, ran.document["state"], ran.document["reason_code"]) == (
        0,
        "DESTROYED",
        "forgotten",
    )
    assert "orphan list" in ran.err


async def test_forgetting_its_own_host_tells_where_it_ends(
    fleet: Fleet, sandboxctl: Sandboxctl, alpha: Machine
) -> None:
    fleet.idle = True
    beta = await fleet.plane.services.hosts.get("beta")
    box = await built(alpha, await fleet.plane.create(host="alpha", sandbox_name="web"))
    await move(alpha, box, beta)
    await fleet.plane.poll(beta, health=HostHealth.DOWN)
    dry = await sandboxctl.run("forget", "web", "--host", "beta", "--dry-run")
    assert (dry.code, "ends once nothing of it is left on alpha" in dry.err) == (0, True)
    ran = await sandboxctl.run(
        *("forget", "web", "--host", "beta", "-y", "--reason", "it burned", "-o", "json")
    )
    assert (ran.code, ran.document["desired_state"], ran.document["host_name"]) == (
        0,
        "DESTROYED",
        "alpha",
    )


def test_the_exit_codes_are_in_the_help(sandboxctl: Sandboxctl) -> None:
    said = " ".join(sandboxctl("audit", "--help").out.split())
    assert "Exit code 0: clean, or healed clean. 8: findings stay" in said
    assert "Exit code 8" in " ".join(sandboxctl("rebuild", "--help").out.split())


def test_documents_are_the_api_s(sandboxctl: Sandboxctl, daemon: FaultyDaemon) -> None:
    report = {"clean": True, "findings": [], "orphans": [], "hosts": [], "at": "now"}
    daemon.on("GET", "/v1/audit", sound(report))
    assert json.loads(sandboxctl("audit", "-o", "json").out) == report
