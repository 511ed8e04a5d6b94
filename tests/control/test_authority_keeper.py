"""Authorities are rotated and retired by files and records that agree, whenever the loop dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from scheduler.control.authority_keeper import AuthorityKeeper, AuthorityLoop
from scheduler.control.loop import STORE_AGAIN_SECONDS
from scheduler.errors import Conflict, Invalid
from scheduler.guests.authorities import Authorities
from scheduler.model import AuthorityState
from scheduler.service.intents import Intent
from scheduler.store import EventFilter
from tests.clocks import START, ManualClock
from tests.service.planes import ME, Plane, database, plane
from tests.store import samples
from tests.waits import until

INTENT: Intent[Any] = Intent(actor=ME)
A = AuthorityState


class Site:
    """A plane, the keys in its directory, and the keeper over both."""

    def __init__(self, cloud: Plane, directory: Path) -> None:
        self.cloud = cloud
        self.directory = directory
        self.given_up: list[str] = []
        self.begin()

    def begin(self) -> None:
        """Open the keys as a daemon does when it starts."""
        self.keys = Authorities.open(self.directory)
        self.keeper = AuthorityKeeper(
            self.cloud.store,
            self.cloud.clock,
            self.keys,
            told=self.cloud.journal.poke,
            given_up=self.given_up.append,
        )

    async def states(self) -> dict[str, AuthorityState]:
        return {one.name: one.state for one in await self.cloud.services.authorities.all()}

    async def trusting(self, number: int) -> None:
        """Record a sandbox whose guest trusts what signs now."""
        box = samples.sandbox(f"SBX-{number}", ssh_ca=self.keys.signer.fingerprint)
        await self.cloud.store.submit(lambda tx: tx.sandboxes.add(box))

    async def told(self) -> list[tuple[str | None, str, str]]:
        wanted = EventFilter(kind="ssh_authority.state")
        found = await self.cloud.store.read(lambda tx: tx.events.find(0, wanted))
        return [(one.reason_code, str(one.evidence["name"]), one.actor) for one in found]


def files(directory: Path) -> list[str]:
    """Return the keys that are on the disk."""
    return sorted(path.name for path in directory.glob("ssh-ca*"))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with plane(database(tmp_path), ManualClock()) as cloud:
        made = Site(cloud, tmp_path)
        await made.keeper.keep()
        yield made


async def test_it_is_rotated_and_the_old_one_retired_once_its_guests_are_gone(
    site: Site, tmp_path: Path
) -> None:
    service = site.cloud.services.authorities
    await site.trusting(1)
    asked = await service.rotate(INTENT)
    assert (asked.name, asked.state, asked.fingerprint) == ("ssh-ca.2", A.MAKING, None)
    with pytest.raises(Conflict, match="is being made"):
        await service.rotate(INTENT)
    old = site.keys.signer
    await site.keeper.keep()
    assert await site.states() == {"ssh-ca.2": A.SIGNING, "ssh-ca.1": A.KEPT}
    assert site.keys.signer.name == "ssh-ca.2"
    assert site.keys.trusted_by(old.fingerprint) == old
    kept = await service.get("ssh-ca.1")
    assert (kept.guests, kept.sandboxes) == (1, ("SBX-1",))
    with pytest.raises(Conflict, match=r"1 guests trust no other .*: SBX-1") as refused:
        await service.retire("ssh-ca.1", INTENT, force=False)
    assert refused.value.details["trusting"] == ["SBX-1"]
    with pytest.raises(Conflict, match="signs for new guests"):
        await service.preview_retirement("ssh-ca.2", force=True)
    await site.cloud.store.submit(lambda tx: tx.sandboxes.bury("SBX-1", at=START))
    assert (await service.preview_retirement("ssh-ca.1", force=False)).state is A.KEPT
    retiring = await service.retire("ssh-ca.1", INTENT, force=False)
    assert (retiring.state, retiring.retired_by) == (A.RETIRING, ME)
    assert (await service.retire("ssh-ca.1", INTENT, force=False)).state is A.RETIRING
    await site.keeper.keep()
    assert await site.states() == {"ssh-ca.2": A.SIGNING, "ssh-ca.1": A.RETIRED}
    assert files(tmp_path) == ["ssh-ca.2", "ssh-ca.2.pub"]
    assert await site.told() == [
        ("signing", "ssh-ca.1", "system"),
        ("rotated", "ssh-ca.2", ME),
        ("kept", "ssh-ca.1", "system"),
        ("signing", "ssh-ca.2", "system"),
        ("retired", "ssh-ca.1", ME),
        ("removed", "ssh-ca.1", "system"),
    ]
    again = await service.rotate(INTENT)
    assert again.name == "ssh-ca.3"


async def test_forced_it_gives_its_guests_up(site: Site) -> None:
    service = site.cloud.services.authorities
    await site.trusting(1)
    await service.rotate(INTENT)
    await site.keeper.keep()
    await service.retire("ssh-ca.1", INTENT, force=True)
    await site.keeper.keep()
    assert site.given_up == ["SBX-1"]
    assert [one.name for one in site.keys.all] == ["ssh-ca.2"]
    report = await site.cloud.services.doctor.examine()
    told = [one.message for one in report.checks if one.name == "ssh authority"]
    assert told == [
        "ssh-ca.2 signs; 0 guests trust it",
        "ssh-ca.1 was retired, so 1 guests that trust it are not reached",
    ]


async def test_a_key_that_was_made_before_a_death_is_the_one(site: Site) -> None:
    await site.cloud.services.authorities.rotate(INTENT)
    made = site.keys.make("ssh-ca.2")
    site.begin()
    assert site.keys.signer == made
    await site.keeper.keep()
    assert await site.states() == {"ssh-ca.2": A.SIGNING, "ssh-ca.1": A.KEPT}
    assert (await site.cloud.services.authorities.get("ssh-ca.2")).fingerprint == made.fingerprint


async def test_a_removal_that_was_cut_short_is_finished(site: Site, tmp_path: Path) -> None:
    service = site.cloud.services.authorities
    await service.rotate(INTENT)
    await site.keeper.keep()
    await service.retire("ssh-ca.1", INTENT, force=False)
    (tmp_path / "ssh-ca.1.pub").unlink()
    site.begin()
    await site.keeper.keep()
    assert await site.states() == {"ssh-ca.2": A.SIGNING, "ssh-ca.1": A.RETIRED}
    assert files(tmp_path) == ["ssh-ca.2", "ssh-ca.2.pub"]


async def test_a_disk_that_refuses_ends_no_loop(tmp_path: Path) -> None:
    keys, away = tmp_path / "keys", tmp_path / "away"
    keys.mkdir()
    clock = ManualClock()
    async with plane(database(tmp_path), clock) as cloud:
        site = Site(cloud, keys)
        await site.keeper.keep()
        for _ in range(2):
            await cloud.services.authorities.rotate(INTENT)
            await site.keeper.keep()
        await cloud.services.authorities.retire("ssh-ca.1", INTENT, force=False)
        await cloud.services.authorities.rotate(INTENT)
        before = await site.states()
        loop = AuthorityLoop(site.keeper, cloud.clock)
        keys.rename(away)
        running = asyncio.create_task(loop.run())
        try:
            with capture_logs() as logs:
                await until(lambda: any(log["event"] == "deferred" for log in logs), what="that")
            assert (running.done(), await site.states()) == (False, before)
            away.rename(keys)
            clock.advance(STORE_AGAIN_SECONDS)
            settled = await cloud.services.authorities.wait("ssh-ca.4", 600)
        finally:
            loop.stop()
            await running
        assert settled.state is A.SIGNING
        assert (await site.states())["ssh-ca.1"] is A.RETIRED


async def test_a_key_that_cannot_be_used_is_told_and_keeps_no_other_from_its_end(
    site: Site, tmp_path: Path
) -> None:
    service = site.cloud.services.authorities
    await service.rotate(INTENT)
    await site.keeper.keep()
    await service.retire("ssh-ca.1", INTENT, force=False)
    await service.rotate(INTENT)
    (tmp_path / "ssh-ca.3.pub").write_text("ssh-ed25519 of-another-key")
    with capture_logs() as logs:
        await site.keeper.keep()
    (told,) = [log for log in logs if log["event"] == "passed over"]
    assert "is not the public half" in told["error"]
    assert await site.states() == {
        "ssh-ca.3": A.MAKING,
        "ssh-ca.2": A.SIGNING,
        "ssh-ca.1": A.RETIRED,
    }
    (tmp_path / "ssh-ca.3.pub").unlink()
    await site.keeper.keep()
    assert (await site.states())["ssh-ca.3"] is A.SIGNING


async def test_keys_that_come_and_go_are_written_down(site: Site, tmp_path: Path) -> None:
    await site.cloud.services.authorities.rotate(INTENT)
    await site.keeper.keep()
    (tmp_path / "ssh-ca.1.pub").rename(tmp_path / "lost.pub")
    (tmp_path / "ssh-ca.1").rename(tmp_path / "lost")
    site.begin()
    await site.keeper.keep()
    assert await site.states() == {"ssh-ca.2": A.SIGNING, "ssh-ca.1": A.MISSING}
    (tmp_path / "lost").rename(tmp_path / "ssh-ca.1")
    site.begin()
    await site.keeper.keep()
    assert await site.states() == {"ssh-ca.2": A.SIGNING, "ssh-ca.1": A.KEPT}


async def test_nothing_is_rotated_before_it_is_known_what_there_is(tmp_path: Path) -> None:
    async with plane(database(tmp_path), ManualClock()) as cloud:
        with pytest.raises(Invalid, match="no SSH authority"):
            await cloud.services.authorities.rotate(INTENT)


async def test_who_waits_hears_of_the_end(site: Site) -> None:
    service, loop = site.cloud.services.authorities, AuthorityLoop(site.keeper, site.cloud.clock)
    asked = await service.rotate(INTENT)
    late = await service.wait(asked.id, 0)
    assert late.state is A.MAKING
    running = asyncio.create_task(loop.run())
    try:
        settled = await service.wait(asked.id, 600)
    finally:
        loop.wake()
        loop.stop()
        await running
    assert settled.state is A.SIGNING
    assert loop.turns()[0].name == "ssh authorities"
    assert replace(settled, state=A.MAKING, fingerprint=None, public_key=None) == asked
