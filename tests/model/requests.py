"""What owners ask for: values that print as what they do, and how they are sent.

Requests of one step are sent at the same moment, in their order. One whose answer was lost with the
daemon is sent again, with its key, to the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import strategies as st

from scheduler.errors import NotFound, SandboxdError
from scheduler.model import (
    DesiredState,
    OnExpire,
    Sandbox,
    SandboxState,
    Snapshot,
    SnapshotKind,
)
from scheduler.service.intents import Answer, Intent, Key
from scheduler.service.requests import CreateSandbox, CreateSnapshot, ForgetSandbox
from scheduler.service.services import Services
from tests.control.world import ME
from tests.model.cluster import HOSTS, Cluster
from tests.model.machines import IMAGE

_INTENT: Intent[Sandbox] = Intent(actor=ME)
_HERE = "forget where it is"
_MOVES = ("move", "move", "move to alpha")


@dataclass(frozen=True, slots=True)
class Create:
    """A creation; two with the same key are one, and two with the same name cannot both be."""

    key: int
    vcpus: int = 1
    ttl: int | None = None
    stops: bool = False
    name: int | None = None
    host: str | None = None
    start: bool = True
    apart: bool = False
    patience: int = 120

    async def send(self, cluster: Cluster) -> None:
        services = cluster.daemon.services
        key = Key(actor=ME, route="POST /v1/sandboxes", key=f"{self.key}", body_hash=repr(self))

        async def perform(intent: Intent[Sandbox]) -> Sandbox:
            return await services.sandboxes.create(self.body(), intent)

        answer = await services.kept_answers.once(key, _rendered, perform)
        sandbox_id = answer.text if isinstance(answer, Answer) else answer.id
        cluster.acknowledge(repr(self), sandbox_id)

    def body(self) -> CreateSandbox:
        return CreateSandbox(
            base_image=IMAGE,
            agent_id="agent-1",
            vcpus=self.vcpus,
            memory_mb=512,
            storage_mb=1024,
            ttl_seconds=self.ttl,
            on_expire=OnExpire.STOP if self.stops else OnExpire.DESTROY,
            sandbox_name=None if self.name is None else f"box-{self.name}",
            host=self.host,
            auto_start=self.start,
            anti_affinity_group="apart" if self.apart else None,
            provision_timeout_seconds=self.patience,
        )


@dataclass(frozen=True, slots=True)
class Ask:
    """A wish on one of the sandboxes there ever were, by the order they were acknowledged in."""

    verb: str
    sandbox: int
    ttl: int = 0

    async def send(self, cluster: Cluster) -> None:
        ids, services = cluster.sandbox_ids, cluster.daemon.services
        if self.verb == _HERE:
            ids = [one for one in ids if await _left_a_host(services, one)] or ids
        if self.verb in _MOVES:
            ids = [one for one in ids if await _is_up(services, one)] or ids
        if ids:
            await self._verb(services)(ids[self.sandbox % len(ids)])

    def _verb(self, services: Services) -> Callable[[str], Awaitable[Sandbox]]:
        sandboxes = services.sandboxes
        return {
            "destroy": lambda id: sandboxes.destroy(id, _INTENT),
            "stop": lambda id: sandboxes.stop(id, _INTENT),
            "start": lambda id: sandboxes.start(id, _INTENT),
            "move": lambda id: sandboxes.move(id, _INTENT),
            "move to alpha": lambda id: sandboxes.move(id, _INTENT, HOSTS[0]),
            "cancel the move": lambda id: sandboxes.cancel_move(id, _INTENT),
            "retry": lambda id: sandboxes.retry(id, _INTENT),
            "extend": lambda id: sandboxes.extend(id, self.ttl, _INTENT),
            "forget": lambda id: services.forgetting.forget(id, ForgetSandbox(), _INTENT),
            "forget by force": lambda id: services.forgetting.forget(
                id, ForgetSandbox(force=True), _INTENT
            ),
            _HERE: lambda id: _forget_where_it_is(services, id),
        }[self.verb]


async def _is_up(services: Services, sandbox_id: str) -> bool:
    """Return whether it may be moved for all that its own record says: few are up for long."""
    try:
        sandbox = await services.sandboxes.get(sandbox_id)
    except NotFound:
        return False
    ending = sandbox.desired_state is DesiredState.DESTROYED
    return not ending and sandbox.state in (SandboxState.RUNNING, SandboxState.STOPPED)


async def _left_a_host(services: Services, sandbox_id: str) -> bool:
    """Return whether another host may still hold something of it: few do, and not for long."""
    try:
        return len((await services.sandboxes.holdings(sandbox_id)).allocations) > 1
    except NotFound:
        return False


async def _forget_where_it_is(services: Services, sandbox_id: str) -> Sandbox:
    here = (await services.sandboxes.get(sandbox_id)).host_name
    return await services.forgetting.forget(
        sandbox_id, ForgetSandbox(host=here, force=True), _INTENT
    )


@dataclass(frozen=True, slots=True)
class Snap:
    """A wish about one of a few snapshots of a sandbox."""

    verb: str
    sandbox: int
    name: int = 0
    external: bool = True

    async def send(self, cluster: Cluster) -> None:
        ids = cluster.sandbox_ids
        if ids:
            await self._send(cluster.daemon.services, ids[self.sandbox % len(ids)])

    async def _send(self, services: Services, sandbox_id: str) -> None:
        snapshots, name = services.snapshots, f"point-{self.name}"
        intent: Intent[Snapshot] = Intent(actor=ME)
        if self.verb == "make":
            kind = SnapshotKind.EXTERNAL if self.external else SnapshotKind.INTERNAL
            await snapshots.create(sandbox_id, CreateSnapshot(name=name, kind=kind), intent)
        elif self.verb == "go back":
            await snapshots.revert(sandbox_id, name, intent)
        else:
            await snapshots.remove(sandbox_id, name, intent)


Request = Create | Ask | Snap

creations = st.builds(
    Create,
    key=st.integers(0, 99),
    vcpus=st.sampled_from([1, 1, 2]),
    ttl=st.sampled_from([None, 60, 300]),
    stops=st.booleans(),
    name=st.sampled_from([None, None, None, 0, 1]),
    host=st.sampled_from([*[None] * 10, HOSTS[0]]),
    start=st.sampled_from([True, True, True, False]),
    apart=st.sampled_from([False, False, False, True]),
    patience=st.sampled_from([600, 120]),
)
_WISHES = ("destroy", "stop", "start", "retry", "extend")
asks = st.builds(
    Ask,
    verb=st.sampled_from([*_WISHES, *_WISHES, "forget", "forget by force", _HERE]),
    sandbox=st.integers(0, 7),
    ttl=st.sampled_from([30, 600]),
)
moves = st.builds(
    Ask,
    verb=st.sampled_from([*_MOVES, "cancel the move"]),
    sandbox=st.integers(0, 7),
)
snaps = st.builds(
    Snap,
    verb=st.sampled_from(["make", "make", "go back", "delete"]),
    sandbox=st.integers(0, 7),
    name=st.integers(0, 3),
    external=st.sampled_from([True, True, False]),
)
requests = st.lists(st.one_of(creations, creations, asks, moves, snaps), min_size=1, max_size=4)


def send(cluster: Cluster, wanted: list[Request]) -> None:
    """Send requests at once; those whose answers a death swallowed are sent again, once."""
    waiting = list(wanted)
    for _ in range(2):
        cluster.run(_send_all(cluster, waiting))
        if not waiting:
            return


async def _send_all(cluster: Cluster, waiting: list[Request]) -> None:
    async def one(request: Request) -> None:
        with suppress(SandboxdError):  # refused, and the caller was told why
            await request.send(cluster)
        waiting.remove(request)

    await asyncio.gather(*map(one, list(waiting)))


def _rendered(sandbox: Sandbox) -> Answer:
    return Answer(status=202, text=sandbox.id)
