"""What a sandbox's seed is given on its way to the host, and what a domain is told of isolation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scheduler.hosts.plans import DomainPlan
from scheduler.model import SandboxState
from scheduler.service.intents import Intent
from tests.clocks import ManualClock
from tests.control.world import ME, World, world
from tests.guests.test_seed import read
from tests.hosts.fake import FakeDriver

SCRIPT = "#!/bin/sh\nhostname zoë\n"


@dataclass
class Told:
    """What hosts were told."""

    seeds: list[bytes] = field(default_factory=list)
    plans: list[DomainPlan] = field(default_factory=list)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def there(tmp_path: Path, told: Told) -> AsyncIterator[World]:
    class Listening(FakeDriver):
        async def create_seed(self, name: str, iso: bytes) -> bool:
            told.seeds.append(iso)
            return await super().create_seed(name, iso)

        async def define(self, plan: DomainPlan) -> None:
            told.plans.append(plan)
            await super().define(plan)

    async with world(tmp_path, ManualClock(), make_driver=Listening) as made:
        await made.add_seen_host()
        yield made


async def test_user_data_reaches_the_guest_and_nobody_else(there: World, told: Told) -> None:
    made = await there.created(user_data=SCRIPT)
    assert made.user_data_bytes == len(SCRIPT.encode())
    (seed,) = told.seeds
    assert b"hostname zo=C3=AB" in read(seed, "user-data")
    assert "hostname" not in repr(made)
    await there.services.sandboxes.destroy(made.id, Intent(actor=ME))
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.DESTROYED
    assert await there.store.read(lambda tx: tx.user_data.get(made.id)) is None


async def test_without_any_the_seed_is_plain(there: World, told: Told) -> None:
    made = await there.created()
    assert made.user_data_bytes is None
    assert read(told.seeds[0], "user-data").startswith(b"#cloud-config\n")


@pytest.mark.parametrize("isolation", [True, False])
async def test_isolation_is_planned_as_asked(there: World, told: Told, isolation: bool) -> None:
    made = await there.created(isolation=isolation)
    assert made.isolation is isolation
    assert [plan.isolated for plan in told.plans] == [isolation]
