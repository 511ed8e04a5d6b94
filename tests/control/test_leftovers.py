"""What destroyed sandboxes left is removed as recorded, proven gone, begun anew if cut short."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from scheduler.control.leftovers import Leftovers, key_of, sandbox_of
from scheduler.errors import HostRefused, HostTimeout
from scheduler.lifecycle.restoration import left_behind
from scheduler.model import DomainState, ObservedVolume, Sandbox, Volume
from scheduler.service.intents import Intent
from scheduler.service.leftovers import condemn
from scheduler.service.requests import Because
from scheduler.store import Transaction
from tests.control.trust import trusting
from tests.control.world import IMAGE, ME, World
from tests.hosts.fake import FakeDomain, FakeDriver

INTENT: Intent[Sandbox] = Intent(actor=ME)


@dataclass(frozen=True, kw_only=True)
class Revenant:
    """A destroyed sandbox that is on its host again, whole."""

    sandbox: Sandbox
    domain: FakeDomain
    disks: tuple[ObservedVolume, ...]
    driver: FakeDriver
    key: str

    def come_back(self) -> None:
        self.domain.state = DomainState.RUNNING
        self.driver.host.domains[self.domain.uuid] = self.domain
        self.driver.host.volumes |= {disk.name: disk for disk in self.disks}

    def assert_gone(self) -> None:
        assert self.driver.host.domains == {}
        assert set(self.driver.host.volumes) == {IMAGE}


@pytest.fixture
async def revenant(there: World) -> Revenant:
    (driver,) = there.drivers.by_host.values()
    assert isinstance(driver, FakeDriver)
    made = await there.created()
    domain = there.domain_of(made)
    disks = tuple(disk for name, disk in driver.host.volumes.items() if name != IMAGE)
    await there.services.sandboxes.destroy(made.id, INTENT)
    await there.settle(made.id)
    back = Revenant(
        sandbox=await there.sandbox(made.id),
        domain=domain,
        disks=disks,
        driver=driver,
        key=key_of(driver.host.host_id, made.id),
    )
    back.assert_gone()
    back.come_back()
    return back


@pytest.fixture
def leftovers(there: World) -> Leftovers:
    return there.leftovers


async def condemned(there: World, revenant: Revenant) -> tuple[Volume, ...]:
    host = await there.host()
    (domain,) = (await revenant.driver.inventory()).domains
    volumes = left_behind(domain, host, there.clock.now())

    def unit(tx: Transaction) -> None:
        condemn(tx, revenant.sandbox, host, volumes, at=there.clock.now())

    await there.store.submit(unit)
    return await there.volumes(revenant.sandbox.id)


async def told(there: World) -> list[str | None]:
    return [event.reason_code for event in await there.events(kind="host.orphan")]


async def test_domain_and_volumes_go_and_are_struck_off(
    there: World, leftovers: Leftovers, revenant: Revenant
) -> None:
    assert len(await condemned(there, revenant)) == 2
    await leftovers.remove(revenant.key)
    revenant.assert_gone()
    assert await there.volumes(revenant.sandbox.id) == ()
    assert await told(there) == ["reappeared", "removed"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("verb", ["power_off", "undefine", "delete_volume", "volumes_absent"])
async def test_one_cut_short_is_begun_again(
    there: World, leftovers: Leftovers, revenant: Revenant, verb: str, after: bool
) -> None:
    await condemned(there, revenant)
    revenant.driver.fail(verb, HostTimeout("cut short"), after=after)
    with pytest.raises(HostTimeout):
        await leftovers.remove(revenant.key)
    assert len(await there.volumes(revenant.sandbox.id)) == 2, "recorded until proven gone"
    await leftovers.remove(revenant.key)
    revenant.assert_gone()
    assert await there.volumes(revenant.sandbox.id) == ()


async def test_i5_a_domain_that_took_the_uuid_is_never_touched(
    there: World, leftovers: Leftovers, revenant: Revenant
) -> None:
    await condemned(there, revenant)
    revenant.domain.mark_xml = None
    before = replace(revenant.domain)
    with pytest.raises(HostRefused, match=r"not .*'s any more"):
        await leftovers.remove(revenant.key)
    assert revenant.driver.host.domains[before.uuid] == before
    assert {disk.name for disk in revenant.disks} < set(revenant.driver.host.volumes)


async def test_volumes_in_another_pool_are_not_looked_for_in_this_one(
    there: World, leftovers: Leftovers, revenant: Revenant
) -> None:
    await condemned(there, revenant)

    def edit(tx: Transaction) -> None:
        host = tx.hosts.by_name("alpha")
        tx.hosts.replace(replace(host, pool="other"), expected_generation=host.generation)

    await there.store.submit(edit)
    with pytest.raises(HostRefused, match="pool default"):
        await leftovers.remove(revenant.key)
    assert len(await there.volumes(revenant.sandbox.id)) == 2


async def test_a_volume_that_stays_is_no_success(
    there: World, leftovers: Leftovers, revenant: Revenant
) -> None:
    class Stubborn(FakeDriver):
        async def delete_volume(self, name: str) -> None:
            self.calls["delete_volume"] += 1

    await condemned(there, revenant)
    host_id = revenant.driver.host.host_id
    there.drivers.by_host[host_id] = Stubborn(revenant.driver.host, there.keyring, there.clock)
    with pytest.raises(HostRefused, match="still holds a volume"):
        await leftovers.remove(revenant.key)
    assert len(await there.volumes(revenant.sandbox.id)) == 2


async def test_nothing_is_done_for_what_lives_was_never_or_has_no_host(
    there: World, leftovers: Leftovers, revenant: Revenant
) -> None:
    await condemned(there, revenant)
    host_id = revenant.driver.host.host_id
    alive = await there.create(host="alpha")
    for key in (
        key_of(host_id, alive.id),
        key_of(host_id, "SBX-NEVER"),
        key_of("HST-GONE", revenant.sandbox.id),
    ):
        await leftovers.remove(key)
    assert revenant.domain.uuid in revenant.driver.host.domains
    assert await told(there) == ["reappeared"]


async def test_what_is_there_no_more_is_struck_off_and_what_never_was_is_not_told(
    there: World, leftovers: Leftovers, revenant: Revenant
) -> None:
    await condemned(there, revenant)
    revenant.driver.host.domains.clear()
    await leftovers.remove(revenant.key)
    await leftovers.remove(revenant.key)
    assert await told(there) == ["reappeared", "removed"]


async def test_the_loops_remove_what_an_earlier_daemon_recorded(
    there: World, revenant: Revenant
) -> None:
    """The record alone is enough: nobody is told, the next look finds it."""
    await condemned(there, revenant)

    async def struck_off() -> bool:
        return not await there.volumes(revenant.sandbox.id)

    async with there.running():
        await there.until(struck_off, what="the leftover struck off")
    revenant.assert_gone()


def test_keys_name_host_and_sandbox() -> None:
    assert sandbox_of(key_of("HST-1", "SBX-1")) == "SBX-1"


async def test_a_copy_that_an_operator_reaps_goes_and_the_sandbox_lives_on(there: World) -> None:
    alpha = there.drivers.by_host[(await there.host()).id]
    beta = await there.add_seen_host("beta")
    assert isinstance(alpha, FakeDriver)
    made = await there.created(host="beta")
    copy = replace(there.domain_of(made))
    alpha.host.domains[copy.uuid] = copy
    alpha.host.volumes |= {n: v for n, v in beta.host.volumes.items() if n != IMAGE}
    await there.look("alpha")
    request = Because(reason="the other one is right")
    await trusting(there).orphans.reap("alpha", copy.uuid, request, INTENT)

    async def released() -> bool:
        return len(await there.allocations(made.id)) == 1

    async with there.running():
        await there.until(released, what="the copy's claim given back")
    assert alpha.host.domains == {}
    assert set(alpha.host.volumes) == {IMAGE}
    assert copy.uuid in beta.host.domains
    assert (await there.sandbox(made.id)).live
    await there.assert_ledger()
