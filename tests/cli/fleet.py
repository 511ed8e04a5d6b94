"""The real application on a real socket over a real store; only the hosts' work is played.

What the daemon's loops would prove, a task records through the store as they do: whoever is woken
becomes what it is wished to be.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from scheduler.api.app import build_app
from scheduler.api.listener import serve
from scheduler.clock import SystemClock
from scheduler.lifecycle.moves import arrived
from scheduler.model import (
    AllocationState,
    DesiredState,
    Drain,
    DrainPolicy,
    DrainState,
    HostState,
    Sandbox,
    SandboxState,
)
from scheduler.service.moves import ask
from scheduler.service.sandbox_records import put
from scheduler.store import Transaction
from tests.service.planes import IMAGE, TERMS, Plane, database, plane
from tests.waits import repeated

ADDRESS = "192.0.2.7"
OTHER_ADDRESS = "192.0.2.107"
"""What a host hands out to whom it takes from another one."""
PATIENT = replace(TERMS, stale_after_seconds=86_400.0)
"""Nobody looks at the hosts again, and time is the machine's own: what was seen stays good."""


@dataclass
class Fleet:
    """A control plane, and what its hosts do when asked."""

    plane: Plane
    fails: bool = False
    """Whether what is built or started fails."""
    idle: bool = False
    """Whether nothing is done at all."""
    keeps: bool = False
    """Whether a drain leaves what is there."""
    stays: bool = False
    """Whether what is to be moved is only shut down, as while its disk is copied."""
    returns: bool = False
    """Whether what was moved comes back, since no other host could bring it up."""
    image: str = IMAGE

    async def work(self) -> None:
        """Fulfil every wish there is now."""
        live = await self.plane.store.read(lambda tx: tx.sandboxes.live())
        # Asked after they were read: who is made once nothing is to be done is not among them.
        if self.idle:
            return
        for sandbox in live:
            await self._fulfil(sandbox)
        for host in await self.plane.store.read(lambda tx: tx.hosts.all()):
            if host.state is HostState.DRAINING:
                await self._drain(host.id)

    async def _fulfil(self, sandbox: Sandbox) -> None:
        state, wish = sandbox.state, sandbox.desired_state
        address = ADDRESS if sandbox.moved_at is None else OTHER_ADDRESS
        if wish is DesiredState.DESTROYED:
            await self.plane.bury(sandbox)
        elif sandbox.move_asked_at is not None:
            await self._move(sandbox)
        elif state is SandboxState.ERROR or state.value == wish.value:
            return
        elif wish is DesiredState.STOPPED:
            await self.plane.become(sandbox, SandboxState.STOPPED)
        elif self.fails:
            starting = () if state is SandboxState.STARTING else (SandboxState.STARTING,)
            await self.plane.become(sandbox, *starting, SandboxState.ERROR)
        else:
            starting = () if state is SandboxState.STARTING else (SandboxState.STARTING,)
            await self.plane.become(sandbox, *starting, SandboxState.RUNNING, address=address)

    async def _move(self, sandbox: Sandbox) -> None:
        """Shut it down, and have the other host take it as if its disk were an image by then."""
        if sandbox.state is SandboxState.RUNNING:
            await self.plane.become(sandbox, SandboxState.STOPPED)
        elif not self.stays:
            await self.plane.store.submit(partial(self._taken, sandbox))
            self.plane.journal.poke()

    def _taken(self, sandbox: Sandbox, tx: Transaction) -> None:
        left = sandbox.host_id or ""
        there = next(host for host in tx.hosts.all() if (host.id == left) is self.returns)
        held = tx.allocations.release(sandbox.id, left)
        tx.allocations.claim(replace(held, host_id=there.id, state=AllocationState.CLAIMED))
        after = arrived(
            sandbox,
            to=there,
            network=sandbox.network,
            decision_id=sandbox.decision_id or "",
            image=(f"{sandbox.sandbox_name}-moved", None),
            now=self.plane.clock.now(),
        )
        put(tx, sandbox, after)

    def _ask_moves(self, drain: Drain, left: Collection[Sandbox], tx: Transaction) -> None:
        now, why = self.plane.clock.now(), f"host {drain.host_name} is being drained"
        for sandbox in left:
            if sandbox.move_asked_at is None:
                ask(tx, sandbox, reason=why, drain_id=drain.id, actor=drain.actor, now=now)

    async def _drain(self, host_id: str) -> None:
        """Destroy or move what is there, then say that the drain is finished."""
        drain = await self.plane.store.read(lambda tx: tx.drains.active(host_id))
        left = await self.plane.store.read(lambda tx: tx.sandboxes.of_host(host_id))
        if left and drain is not None and drain.policy is DrainPolicy.MOVE:
            await self.plane.store.submit(partial(self._ask_moves, drain, left))
            return
        for sandbox in () if self.keeps else left:
            await self.plane.bury(sandbox)
        now = self.plane.clock.now()

        def finish(tx: object) -> None:
            drain = tx.drains.active(host_id)  # type: ignore[attr-defined]
            ended = replace(drain, state=DrainState.FINISHED, remaining=0, ended_at=now)
            tx.drains.replace(ended)  # type: ignore[attr-defined]
            tx.hosts.set_state(  # type: ignore[attr-defined]
                host_id,
                (HostState.DRAINING,),
                HostState.DRAINED,
                at=now,
                actor="system",
                reason="drained",
            )

        await self.plane.store.submit(finish)
        self.plane.journal.poke()


@asynccontextmanager
async def running_fleet(socket_path: Path) -> AsyncIterator[Fleet]:
    """Serve a fleet of two hosts on a socket."""
    async with plane(database(socket_path.parent), SystemClock(), terms=PATIENT) as opened:
        await opened.add_host("alpha", cpus=4, memory_mb=8192, labels={"zone": "one"})
        await opened.add_host("beta", cpus=8, memory_mb=16384, labels={"zone": "two"})
        fleet = Fleet(opened)
        app = build_app(opened.services)
        async with (
            repeated(fleet.work),
            serve(app, socket_path, None, on_stop=opened.journal.close),
        ):
            yield fleet
