"""The real application on a real socket over a real store; only the hosts' work is played.

What the daemon's loops would prove, a task records through the store as they do: whoever is woken
becomes what it is wished to be.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from scheduler.api.app import build_app
from scheduler.api.listener import serve
from scheduler.clock import SystemClock
from scheduler.model import DesiredState, DrainState, HostState, Sandbox, SandboxState
from tests.service.planes import IMAGE, TERMS, Plane, database, plane
from tests.waits import repeated

ADDRESS = "192.0.2.7"
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
        if wish is DesiredState.DESTROYED:
            await self.plane.bury(sandbox)
        elif state is SandboxState.ERROR or state.value == wish.value:
            return
        elif wish is DesiredState.STOPPED:
            await self.plane.become(sandbox, SandboxState.STOPPED)
        elif self.fails:
            starting = () if state is SandboxState.STARTING else (SandboxState.STARTING,)
            await self.plane.become(sandbox, *starting, SandboxState.ERROR)
        else:
            starting = () if state is SandboxState.STARTING else (SandboxState.STARTING,)
            await self.plane.become(sandbox, *starting, SandboxState.RUNNING, address=ADDRESS)

    async def _drain(self, host_id: str) -> None:
        """Destroy what is there, then say that the drain is finished."""
        left = await self.plane.store.read(lambda tx: tx.sandboxes.of_host(host_id))
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
