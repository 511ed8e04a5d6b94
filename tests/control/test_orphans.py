"""What is ours without a record: destroyed only by a tombstone's proof, else reported once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from scheduler.control.looks import Look
from scheduler.control.orphans import OrphanKeeper
from scheduler.errors import HostTimeout
from scheduler.lifecycle.orphans import MIN_AGE_SECONDS, Budget
from scheduler.model import DomainState, Inventory, Sandbox, SandboxState
from scheduler.service.intents import Intent
from tests.control.world import ME, World
from tests.hosts.fake import FakeDomain, FakeDriver

INTENT: Intent[Sandbox] = Intent(actor=ME)


class Keeper(OrphanKeeper):
    """A keeper whose removals are done at once, in the order in which they were ordered."""

    def __init__(self, there: World) -> None:
        self.ordered: list[str] = []
        self.leftovers = there.leftovers
        super().__init__(there.store, there.clock, there.listings, remove=self.ordered.append)

    async def keep(self, look: Look) -> int:
        found = await super().keep(look)
        for key in self.ordered:
            with suppress(HostTimeout):
                await self.leftovers.remove(key)
        self.ordered.clear()
        return found


@pytest.fixture
def keeper(there: World) -> Keeper:
    return Keeper(there)


def driver_of(there: World) -> FakeDriver:
    driver = next(iter(there.drivers.by_host.values()))
    assert isinstance(driver, FakeDriver)
    return driver


async def told(there: World) -> list[str | None]:
    return [event.reason_code for event in await there.events(kind="host.orphan")]


async def revenant(there: World) -> FakeDomain:
    """Destroy a sandbox and put its domain back, as a restored backup of its host would."""
    made = await there.created()
    domain = there.domain_of(made)
    await there.services.sandboxes.destroy(made.id, INTENT)
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.DESTROYED
    domain.state = DomainState.RUNNING
    driver_of(there).host.domains[domain.uuid] = domain
    return domain


async def test_a_host_in_order_has_none(there: World, keeper: OrphanKeeper) -> None:
    await there.created()
    assert await keeper.keep(await there.look()) == 0
    driver_of(there).reachable = False
    assert await keeper.keep(await there.look()) == 0
    assert await told(there) == []


async def test_one_with_a_tombstone_goes_after_two_sightings_and_some_age(
    there: World, keeper: OrphanKeeper
) -> None:
    domain = await revenant(there)
    assert await keeper.keep(await there.look()) == 0
    assert await keeper.keep(await there.look()) == 0
    there.clock.advance(MIN_AGE_SECONDS)
    there.listings.lost((await there.host()).id)
    assert await keeper.keep(await there.look()) == 0
    assert domain.uuid in driver_of(there).host.domains
    assert await keeper.keep(await there.look()) == 1

    assert driver_of(there).host.domains == {}
    assert await told(there) == ["reappeared", "removed"]
    assert await keeper.keep(await there.look()) == 0


async def test_one_without_a_record_is_reported_once_and_left(
    there: World, keeper: OrphanKeeper
) -> None:
    made = await there.created()
    stranger = replace(there.domain_of(made), uuid="5b0d2c7e-9a60-4c0c-8e0a-000000000001")
    stranger.mark_xml = there.keyring.sign(
        {"sandbox_id": "SBX-NOBODY", "domain_uuid": stranger.uuid}
    )
    driver_of(there).host.domains[stranger.uuid] = stranger
    before = replace(stranger)
    for _ in range(4):
        assert await keeper.keep(await there.look()) == 1
    assert await told(there) == ["no_record"]
    assert driver_of(there).host.domains[stranger.uuid] == before

    del driver_of(there).host.domains[stranger.uuid]
    assert await keeper.keep(await there.look()) == 0
    driver_of(there).host.domains[stranger.uuid] = stranger
    await keeper.keep(await there.look())
    assert await told(there) == ["no_record", "no_record"], "gone and back is news"


async def test_a_forged_mark_is_reported_and_never_touched(
    there: World, keeper: OrphanKeeper
) -> None:
    made = await there.created()
    thief = replace(there.domain_of(made), uuid="5b0d2c7e-9a60-4c0c-8e0a-000000000002")
    driver_of(there).host.domains[thief.uuid] = replace(thief)
    for _ in range(3):
        await keeper.keep(await there.look())
    assert await told(there) == ["forged_mark"]
    assert driver_of(there).host.domains[thief.uuid] == thief


async def test_a_copy_on_another_host_is_reported(there: World, keeper: OrphanKeeper) -> None:
    made = await there.created(host="alpha")
    beta = await there.add_seen_host("beta")
    beta.host.domains[made.domain_uuid or ""] = replace(there.domain_of(made))
    assert await keeper.keep(await there.look("beta")) == 1
    assert await told(there) == ["stray_copy"]
    assert made.domain_uuid in beta.host.domains


async def test_an_unlisted_volume_is_reported_and_never_deleted(
    there: World, keeper: OrphanKeeper
) -> None:
    driver_of(there).host.add_image("sbx-precious.img")
    for _ in range(3):
        assert await keeper.keep(await there.look()) == 1
    assert await told(there) == ["unlisted_volume"]
    assert "sbx-precious.img" in driver_of(there).host.volumes
    assert driver_of(there).calls["delete_volume"] == 0


async def test_one_being_built_while_its_host_is_listed_is_no_orphan(
    there: World, keeper: OrphanKeeper
) -> None:
    class Slow(FakeDriver):
        async def inventory(self) -> Inventory:
            if self.calls["inventory"]:
                await there.create(host="beta")
                (made,) = await there.store.read(lambda tx: tx.sandboxes.live())
                self.fail("define", HostTimeout("still at it"), after=True)
                with suppress(HostTimeout):
                    await there.converger.converge(made.id)
            return await super().inventory()

    there.make_driver = Slow
    await there.add_seen_host("beta")
    assert await keeper.keep(await there.look("beta")) == 0
    assert await told(there) == []


async def test_a_host_that_will_not_is_asked_again_and_costs_nobody_else(
    there: World, keeper: OrphanKeeper
) -> None:
    domain = await revenant(there)
    there.clock.advance(MIN_AGE_SECONDS)
    driver_of(there).fail("power_off", HostTimeout("did not answer in time"), times=2)
    for _ in range(3):
        await keeper.keep(await there.look())
    assert domain.uuid in driver_of(there).host.domains
    await keeper.keep(await there.look())
    assert domain.uuid not in driver_of(there).host.domains
    assert await told(there) == ["reappeared", "removed"]


async def test_one_that_went_by_itself_is_nothing_to_destroy(
    there: World, keeper: OrphanKeeper
) -> None:
    domain = await revenant(there)
    there.clock.advance(MIN_AGE_SECONDS)
    await there.look()
    look = await there.look()
    del driver_of(there).host.domains[domain.uuid]
    before = driver_of(there).calls["power_off"]
    await keeper.keep(look)
    assert driver_of(there).calls["power_off"] == before


async def test_destroys_that_nobody_asked_for_have_a_budget(
    there: World, keeper: OrphanKeeper
) -> None:
    keeper._budget = Budget(a_pass=2, an_hour=3)
    domains = [await revenant(there) for _ in range(5)]
    there.clock.advance(MIN_AGE_SECONDS)
    for _ in range(5):
        await keeper.keep(await there.look())
    left = [domain for domain in domains if domain.uuid in driver_of(there).host.domains]
    assert len(left) == 2
    assert (await told(there)).count("held_by_budget") == 1
    there.clock.advance(3600)
    for _ in range(2):
        await keeper.keep(await there.look())
    assert driver_of(there).host.domains == {}


async def test_a_host_that_is_gone_is_forgotten(there: World, keeper: OrphanKeeper) -> None:
    driver_of(there).host.add_image("sbx-precious.img")
    look = await there.look()
    await keeper.keep(look)
    keeper.forget(look.host.id)
    await keeper.keep(look)
    assert await told(there) == ["unlisted_volume", "unlisted_volume"]
