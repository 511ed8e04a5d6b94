"""Whatever a host does wrong and whenever the daemon dies, all ends where it should.

Every host call draws from a script of faults; the owner's wishes fall in between. In the end the
ledger equals what is there, and what was destroyed is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.errors import HostRefused, HostTimeout, HostUnreachable, SandboxdError
from scheduler.model import DesiredState, DomainState, Sandbox, SandboxState
from scheduler.service.intents import Intent
from tests.clocks import ManualClock
from tests.control.world import IMAGE, ME, World, world
from tests.hosts.fake import FakeDriver

T = TypeVar("T")
INTENT: Intent[Sandbox] = Intent(actor=ME)


class Died(Exception):
    """The daemon was killed at this moment; what was not written is lost."""


FAULTS: dict[str, tuple[Exception, bool]] = {
    "refused": (HostRefused("no"), False),
    "lost before": (HostTimeout("did not answer in time"), False),
    "lost after": (HostTimeout("did not answer in time"), True),
    "unreachable": (HostUnreachable("no route"), False),
    "died before": (Died(), False),
    "died after": (Died(), True),
}
"""Each fault's error, and whether the call took effect all the same."""

FINE = "fine"

scripts = st.lists(st.sampled_from([FINE, FINE, *FAULTS]), max_size=40)
acts = st.lists(
    st.sampled_from(["work", "work", "work", "look", "sleep", "stop", "start", "retry", "destroy"]),
    max_size=25,
)


class Scripted(FakeDriver):
    """A host whose every call goes as the script says, and well once that is over."""

    script: list[str]

    async def _call(self, verb: str, effect: Callable[[], T]) -> T:
        fate = self.script.pop(0) if self.script else FINE
        if fate == FINE:
            return await super()._call(verb, effect)
        error, takes_effect = FAULTS[fate]
        if takes_effect:
            await super()._call(verb, effect)
        raise error


class Life:
    """One sandbox's life on a host that follows a script."""

    def __init__(self, there: World, driver: Scripted, sandbox: Sandbox) -> None:
        self.there = there
        self.driver = driver
        self.id = sandbox.id

    async def act(self, what: str) -> None:
        sandboxes = self.there.services.sandboxes
        wishes = {
            "stop": sandboxes.stop,
            "start": sandboxes.start,
            "retry": sandboxes.retry,
            "destroy": sandboxes.destroy,
        }
        if what == "work":
            await self.work()
        elif what == "look":
            await self.look()
        elif what == "sleep":
            self.there.clock.advance(20)
        else:
            with suppress(SandboxdError):
                await wishes[what](self.id, INTENT)

    async def work(self) -> None:
        """Take a turn as the workers do: a fault parks, a death starts the daemon anew."""
        pause: float | None = 1.0
        try:
            pause = await self.there.converger.converge(self.id)
        except Died:
            self.there.__post_init__()
        except SandboxdError:
            pass
        self.there.clock.advance(1.0 if pause is None else pause)

    async def look(self) -> None:
        try:
            await self.there.look()
        except Died:
            self.there.__post_init__()

    async def check(self) -> None:
        """What must hold at every moment."""
        sandbox = await self.there.sandbox(self.id)
        assert len(self.driver.host.domains) <= 1
        await self.there.assert_ledger()
        if not sandbox.live:
            assert self.driver.host.domains == {}
            assert set(self.driver.host.volumes) == {IMAGE}

    async def come_to_rest(self) -> Sandbox:
        """Give the host as much time as it needs, without further faults."""
        self.driver.script.clear()
        before = None
        for _ in range(40):
            for _ in range(3):
                await self.look()
                await self.work()
            await self.check()
            now = await self.there.sandbox(self.id)
            if now == before and now.phase is None:
                break
            before = now
        return await self.there.sandbox(self.id)


async def live(there: World, driver: Scripted, script: list[str], plan: list[str]) -> None:
    driver.script = []
    for _ in range(2):
        await there.look()
    life = Life(there, driver, await there.create(provision_timeout_seconds=86_400))
    driver.script = list(script)
    for what in plan:
        await life.act(what)
        await life.check()
    rested = await life.come_to_rest()
    wanted = rested.desired_state
    if wanted is DesiredState.DESTROYED:
        assert rested.state is SandboxState.DESTROYED
    elif rested.state is not SandboxState.ERROR:
        assert rested.state.value == wanted.value
        running = there.domain_of(rested).state is DomainState.RUNNING
        assert running == (wanted is DesiredState.RUNNING)
    with suppress(SandboxdError):
        await there.services.sandboxes.destroy(life.id, INTENT)
    assert (await life.come_to_rest()).state is SandboxState.DESTROYED


def test_whatever_fails_all_ends_where_it_should(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        opened = world(tmp_path, ManualClock(), make_driver=Scripted)
        there = runner.run(opened.__aenter__())
        try:
            driver = runner.run(_host(there))

            @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
            @given(script=scripts, plan=acts)
            def holds(script: list[str], plan: list[str]) -> None:
                runner.run(live(there, driver, script, plan))

            holds()
        finally:
            runner.run(opened.__aexit__(None, None, None))


async def _host(there: World) -> Scripted:
    driver = await there.add_host("alpha")
    assert isinstance(driver, Scripted)
    driver.script = []
    await there.look()
    return driver
