"""ca on the command line: shown, rotated, retired."""

from __future__ import annotations

import asyncio
from pathlib import Path

from scheduler.control.authority_keeper import AuthorityKeeper, AuthorityLoop
from scheduler.guests.authorities import Authorities
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl
from tests.store import samples


async def test_ca_is_shown_rotated_and_retired(
    fleet: Fleet, sandboxctl: Sandboxctl, tmp_path: Path
) -> None:
    ctl, plane = sandboxctl.run, fleet.plane
    keys = Authorities.open(tmp_path)
    told = plane.journal.poke
    keeper = AuthorityKeeper(plane.store, plane.clock, keys, told=told, given_up=bool)
    await keeper.keep()
    waiting = await ctl("ca", "rotate", "--no-wait")
    assert (waiting.code, waiting.rows[1][:2]) == (0, ["ssh-ca.2", "MAKING"])
    late = await ctl("ca", "rotate")
    assert (late.code, "is being made" in late.err) == (5, True)
    await keeper.keep()
    loop = AuthorityLoop(keeper, plane.clock)
    running = asyncio.create_task(loop.run())
    try:
        asked = asyncio.create_task(ctl("ca", "rotate", "-o", "json"))
        while not asked.done():
            loop.wake()
            await asyncio.wait((asked,), timeout=0.05)
        made = await asked
    finally:
        loop.wake()
        loop.stop()
        await running
    assert (made.document["name"], made.document["state"]) == ("ssh-ca.3", "SIGNING")
    assert "back the state directory up" in made.err
    box = samples.sandbox("SBX-1", ssh_ca=keys.all[2].fingerprint)
    await plane.store.submit(lambda tx: tx.sandboxes.add(box))
    shown = await ctl("ca", "show")
    assert [row[:2] for row in shown.rows[1:]] == [
        ["ssh-ca.3", "SIGNING"],
        ["ssh-ca.2", "KEPT"],
        ["ssh-ca.1", "KEPT"],
    ]
    one = await ctl("ca", "show", "ssh-ca.1")
    assert "1: SBX-1" in one.out
    assert "the state directory" in one.out
    refused = await ctl("ca", "retire", "ssh-ca.1", "-y")
    assert (refused.code, "SBX-1" in refused.err) == (5, True)
    planned = await ctl("ca", "retire", "ssh-ca.1", "--force", "--dry-run", "-o", "name")
    assert planned.out == "ssh-ca.1\n"
    assert (await ctl("ca", "retire", "ssh-ca.1", "--force")).code == 2
    gone = await ctl("ca", "retire", "ssh-ca.1", "--force", "-y", "--no-wait", "-o", "wide")
    assert "RETIRING" in gone.out
    late = await ctl("ca", "retire", "ssh-ca.1", "-y", "--timeout", "1s")
    assert (late.code, "still RETIRING" in late.err) == (124, True)
    await keeper.keep()
    assert (await ctl("ca", "show", "ssh-ca.1", "-o", "json")).document["state"] == "RETIRED"
    assert (await ctl("ca", "show", "none")).code == 3


async def test_a_revocation_names_a_certificate_or_a_sandbox(sandboxctl: Sandboxctl) -> None:
    assert (await sandboxctl.run("login", "revoke")).code == 2
    assert (await sandboxctl.run("login", "revoke", "CRT-1", "--sandbox", "x")).code == 2
