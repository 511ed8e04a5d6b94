"""A sandbox whose own host is forgotten ends on one it had left, and nothing is taken for gone.

Each begins as a build that alpha failed, after it had begun it, and that beta took over.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scheduler.model import AllocationState, DesiredState, Phase, Sandbox, SandboxState
from scheduler.service.forgetting import Forgetting
from scheduler.service.intents import Intent
from scheduler.service.requests import ForgetSandbox
from tests.control.test_relocator import FAILED, claims, clear, down, driver_on, refuse
from tests.control.world import IMAGE, ME, World

INTENT: Intent[Sandbox] = Intent(actor=ME)
CLAIMED, RELEASING = AllocationState.CLAIMED, AllocationState.RELEASING


@pytest.fixture
async def hosts(empty: World) -> World:
    for name in ("alpha", "beta", "gamma"):
        await empty.add_seen_host(name)
    return empty


@pytest.fixture
async def moved(hosts: World) -> Sandbox:
    """It runs on beta, and alpha may still hold what it had begun to build."""
    await refuse(hosts, "alpha", verb="define")
    made = await hosts.create()
    await hosts.settle(made.id)
    assert await claims(hosts, made) == {"alpha": RELEASING, "beta": AllocationState.ACTIVE}
    return await hosts.sandbox(made.id)


async def forget(world: World, sandbox: Sandbox, host: str | None = None) -> Sandbox:
    request = ForgetSandbox(host=host, reason="it burned")
    return await world.services.forgetting.forget(sandbox.id, request, INTENT)


async def preview(world: World, sandbox: Sandbox, host: str | None) -> Forgetting:
    return await world.services.forgetting.preview(sandbox.id, ForgetSandbox(host=host))


async def test_i2_it_ends_on_the_host_that_may_still_hold_something(
    hosts: World, moved: Sandbox
) -> None:
    await down(hosts, "beta")
    alpha = await driver_on(hosts, "alpha")
    assert len(alpha.host.volumes) == 3, "overlay and seed beside the image"

    assert (await preview(hosts, moved, "beta")).sent_back_to == "alpha"
    left = await forget(hosts, moved, "beta")

    assert (left.live, left.desired_state) == (True, DesiredState.DESTROYED)
    assert (left.host_name, left.phase, left.ip_address) == ("alpha", Phase.DESTROY, None)
    assert left.reason_code == "forgotten_on_host"
    assert await claims(hosts, moved) == {"alpha": CLAIMED}
    (told,) = await hosts.events(sandbox_id=moved.id, reason_code="forgotten_on_host")
    assert (told.kind, told.actor) == ("sandbox.moved", ME)
    assert (told.evidence["from_host"], told.evidence["to_host"]) == ("beta", "alpha")
    assert (await hosts.host("beta")).reserved_sandboxes == 0
    assert (await hosts.services.audits.audit()).findings == ()
    await hosts.assert_ledger()
    await hosts.services.hosts.remove("beta", Intent(actor=ME))

    await hosts.settle(moved.id)
    assert (await hosts.sandbox(moved.id)).state is SandboxState.DESTROYED
    assert set(alpha.host.volumes) == {IMAGE}
    assert await claims(hosts, moved) == {}
    await hosts.assert_ledger()


async def test_i3_one_that_nobody_had_begun_there_is_not_taken_for_gone(hosts: World) -> None:
    """Its record says CREATED and no phase on beta, which says nothing of alpha."""
    made = await hosts.create()
    await hosts.change(made.id, phase=Phase.BUILD)
    await hosts.relocator.relocate(await hosts.sandbox(made.id), FAILED)
    waiting = await hosts.sandbox(made.id)
    assert (waiting.state, waiting.phase, waiting.host_name) == (SandboxState.CREATED, None, "beta")
    await down(hosts, "beta")
    await down(hosts, "alpha")

    await forget(hosts, made, "beta")
    await hosts.settle(made.id)
    assert await claims(hosts, made) == {"alpha": CLAIMED}, "alpha was not asked yet"
    await up(hosts, "alpha")
    await hosts.settle(made.id)
    assert (await hosts.sandbox(made.id)).state is SandboxState.DESTROYED
    assert await claims(hosts, made) == {}
    await hosts.assert_ledger()


async def test_it_goes_on_to_every_host_that_is_yet_to_be_cleared(hosts: World) -> None:
    await refuse(hosts, "alpha", "beta", verb="define")
    made = await hosts.create()
    await hosts.settle(made.id)
    assert await claims(hosts, made) == {
        "alpha": RELEASING,
        "beta": RELEASING,
        "gamma": AllocationState.ACTIVE,
    }
    for name in ("gamma", "alpha"):
        await down(hosts, name)
    assert (await forget(hosts, made, "gamma")).host_name == "alpha"
    assert await claims(hosts, made) == {"alpha": CLAIMED, "beta": RELEASING}
    assert (await forget(hosts, made, "alpha")).host_name == "beta"
    assert await claims(hosts, made) == {"beta": CLAIMED}
    await hosts.settle(made.id)
    assert (await hosts.sandbox(made.id)).state is SandboxState.DESTROYED
    await hosts.assert_ledger()


async def test_a_host_that_it_had_left_is_forgotten_while_it_lives_on(
    hosts: World, moved: Sandbox
) -> None:
    await down(hosts, "alpha")
    assert (await preview(hosts, moved, "alpha")).sent_back_to is None
    left = await forget(hosts, moved, "alpha")
    assert (left.state, left.host_name) == (SandboxState.RUNNING, "beta")
    await hosts.settle(moved.id)
    assert (await hosts.sandbox(moved.id)).state is SandboxState.RUNNING


async def test_who_clears_a_host_meanwhile_leaves_the_claim_to_the_sandbox(
    hosts: World, moved: Sandbox
) -> None:
    """The claim was `releasing` when the clearing began; it is the sandbox's own by its end."""
    await down(hosts, "beta")
    alpha = await driver_on(hosts, "alpha")
    absent = alpha.volumes_absent

    async def sent_back_meanwhile(names: Sequence[str]) -> bool:
        await forget(hosts, moved, "beta")
        return await absent(names)

    alpha.volumes_absent = sent_back_meanwhile  # type: ignore[method-assign]
    await clear(hosts, moved, "alpha")
    del alpha.volumes_absent
    assert await claims(hosts, moved) == {"alpha": CLAIMED}
    await clear(hosts, moved, "alpha")
    assert await claims(hosts, moved) == {"alpha": CLAIMED}, "no leftover any more"
    await hosts.settle(moved.id)
    assert (await hosts.sandbox(moved.id)).state is SandboxState.DESTROYED
    await hosts.assert_ledger()


async def up(world: World, name: str) -> None:
    (await driver_on(world, name)).reachable = True
    for _ in range(2):
        world.clock.advance(10)
        await world.look(name)
