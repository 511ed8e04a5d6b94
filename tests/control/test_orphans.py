"""What is ours without a record: destroyed only by a tombstone's proof, else reported once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.control.looks import Look
from scheduler.control.orphans import OrphanKeeper
from scheduler.errors import HostTimeout
from scheduler.lifecycle.orphans import MIN_AGE_SECONDS, Budget
from scheduler.model import DomainState, Event, Inventory, Sandbox, SandboxState
from scheduler.service.intents import Intent
from scheduler.service.leftovers import ORPHAN_EVENT, REAPPEARED
from tests.control.world import ME, World
from tests.hosts.fake import FakeDomain, FakeDriver

INTENT: Intent[Sandbox] = Intent(actor=ME)
PASS_SECONDS = 10.0
FLEET = 20


class Keeper(OrphanKeeper):
    """A keeper whose removals are done at once, in the order in which they were ordered."""

    def __init__(self, there: World) -> None:
        self.ordered: list[str] = []
        self.leftovers = there.leftovers
        super().__init__(
            there.store,
            there.clock,
            there.listings,
            remove=self.ordered.append,
            pass_seconds=PASS_SECONDS,
        )

    async def keep(self, look: Look) -> int:
        found = await super().keep(look)
        for key in self.ordered:
            with suppress(HostTimeout):
                await self.leftovers.remove(key)
        self.ordered.clear()
        return found


def keeper_of(there: World, ordered: list[str]) -> OrphanKeeper:
    """Return a keeper whose removals are only ordered."""
    return OrphanKeeper(
        there.store,
        there.clock,
        there.listings,
        remove=ordered.append,
        pass_seconds=PASS_SECONDS,
    )


@pytest.fixture
def keeper(there: World) -> Keeper:
    return Keeper(there)


def driver_of(there: World) -> FakeDriver:
    driver = next(iter(there.drivers.by_host.values()))
    assert isinstance(driver, FakeDriver)
    return driver


async def told(there: World) -> list[str | None]:
    return [event.reason_code for event in await there.events(kind="host.orphan")]


async def revenant(there: World, host: str = "alpha") -> FakeDomain:
    """Destroy a sandbox and put its domain back, as a restored backup of its host would."""
    made = await there.created(host=host)
    driver = there.drivers.by_host[made.host_id or ""]
    assert isinstance(driver, FakeDriver)
    domain = there.domain_of(made)
    await there.services.sandboxes.destroy(made.id, INTENT)
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.DESTROYED
    domain.state = DomainState.RUNNING
    driver.host.domains[domain.uuid] = domain
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
    keeper._budget = Budget(a_pass=2, an_hour=3, pass_seconds=PASS_SECONDS)
    for _ in range(5):
        await revenant(there)
    there.clock.advance(MIN_AGE_SECONDS)
    left = []
    for _ in range(6):
        await keeper.keep(await there.look())
        left.append(len(driver_of(there).host.domains))
        there.clock.advance(PASS_SECONDS / 2)
    assert left == [5, 3, 3, 2, 2, 2], "two a pass, however often its host is looked at in one"
    assert (await told(there)).count("held_by_budget") == 1
    there.clock.advance(3600)
    for _ in range(2):
        await keeper.keep(await there.look())
    assert driver_of(there).host.domains == {}


async def revenants(there: World) -> list[Look]:
    """Return the looks at a fleet that was restored from its backup, each host's second one."""
    names = ["alpha", *(f"h{number}" for number in range(1, FLEET))]
    for name in names[1:]:
        await there.add_seen_host(name)
    for name in names:
        await revenant(there, name)
    there.clock.advance(MIN_AGE_SECONDS)
    for name in names:
        await there.look(name)
    return [await there.look(name) for name in names]


async def condemned(there: World) -> int:
    return (await told(there)).count("reappeared")


async def test_the_budget_of_an_hour_is_one_for_all_hosts_that_are_judged_at_once(
    there: World,
) -> None:
    ordered: list[str] = []
    keeper = keeper_of(there, ordered)
    budget = Budget(a_pass=FLEET, an_hour=7, pass_seconds=PASS_SECONDS)
    keeper._budget = budget
    looks = await revenants(there)
    for _ in range(3):
        found = await asyncio.gather(*(keeper.keep(look) for look in looks))
        assert sum(found) == FLEET, "those that are held are there as well"
        assert await condemned(there) == budget.an_hour
        there.clock.advance(PASS_SECONDS)
    assert len(set(ordered)) == budget.an_hour, "only what was recorded is removed (I4)"
    assert (await told(there)).count("held_by_budget") == FLEET - budget.an_hour


async def test_the_budget_of_a_pass_is_one_for_all_hosts_of_the_fleet(there: World) -> None:
    ordered: list[str] = []
    keeper = keeper_of(there, ordered)
    looks = await revenants(there)
    for number in range(1, 5):
        for _ in range(2):
            await asyncio.gather(*(keeper.keep(look) for look in looks))
            assert await condemned(there) == len(set(ordered)) == number * Budget().a_pass
        there.clock.advance(PASS_SECONDS)
    assert len(set(ordered)) == FLEET


async def test_what_somebody_else_spends_meanwhile_is_spent(there: World) -> None:
    keeper = keeper_of(there, [])
    looks = await revenants(there)
    at = there.clock.now() - timedelta(minutes=1)
    event = Event(at=at, kind=ORPHAN_EVENT, reason_code=REAPPEARED, message="an audit healed")

    async def heal() -> None:
        await there.store.submit(lambda tx: [tx.events.add(event) for _ in range(48)])

    await asyncio.gather(heal(), *(keeper.keep(look) for look in looks))
    assert await condemned(there) == Budget().an_hour


async def test_a_host_that_is_gone_is_forgotten(there: World, keeper: OrphanKeeper) -> None:
    driver_of(there).host.add_image("sbx-precious.img")
    look = await there.look()
    await keeper.keep(look)
    keeper.forget(look.host.id)
    await keeper.keep(look)
    assert await told(there) == ["unlisted_volume", "unlisted_volume"]
