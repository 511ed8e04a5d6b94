"""The drivers in use, one a host, made when first asked for and replaced when the way changed.

A host's record is all there is to know; asking never dials and never fails. What is wrong with a
way to a host is told by the driver's first call, like any other trouble of that host.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh

from scheduler.clock import Clock
from scheduler.errors import HostRefused, Invalid
from scheduler.hosts.calls import Calls
from scheduler.hosts.deadlines import DEADLINE_SECONDS, Verb
from scheduler.hosts.driver import HostDriver
from scheduler.hosts.libvirt_driver import LibvirtDriver
from scheduler.hosts.marks import Keyring
from scheduler.hosts.routes import DirectRoute, Route, check_route, direct_uri
from scheduler.hosts.threads import Threads
from scheduler.hosts.tunnel import SshTunnel
from scheduler.model.hosts import HostResources, Transport

CLOSE_SECONDS = 10.0


class Drivers:
    """The owner of every connection to every host; belongs to the event loop's thread."""

    def __init__(
        self,
        *,
        state_dir: Path,
        keyring: Keyring,
        clock: Clock,
        on_hint: Callable[[str], None],
        deadlines: Mapping[Verb, float] = DEADLINE_SECONDS,
    ) -> None:
        self._sockets = state_dir / "tunnels"
        self._keyring = keyring
        self._clock = clock
        self._on_hint = on_hint
        self._deadlines = deadlines
        self.calls = Calls()
        """What the calls to all hosts took, and how they failed; to be read only."""
        self._threads = Threads()
        self._drivers: dict[str, tuple[tuple[object, ...], LibvirtDriver]] = {}
        self._routes: dict[str, Route] = {}
        self._closings: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        state_dir: Path,
        keyring: Keyring,
        clock: Clock,
        on_hint: Callable[[str], None],
        *,
        deadlines: Mapping[Verb, float] = DEADLINE_SECONDS,
    ) -> AsyncIterator[Drivers]:
        """Yield the drivers; leaving closes every connection.

        `on_hint` is called in the loop with a host's id when something happened there.
        """
        drivers = cls(
            state_dir=state_dir, keyring=keyring, clock=clock, on_hint=on_hint, deadlines=deadlines
        )
        try:
            yield drivers
        finally:
            await drivers._aclose()

    def get(self, host: HostResources) -> HostDriver:
        """Return the host's driver; the same one for as long as the way to it stays the same."""
        way = _way(host)
        known = self._drivers.get(host.id)
        if known is not None and known[0] == way:
            known[1].adopt(host)
            return known[1]
        if known is not None:
            self._let_go(known[1])
        route = self._routes[host.id] = self._route(host)
        driver = LibvirtDriver(
            host,
            route=route,
            threads=self._threads,
            keyring=self._keyring,
            clock=self._clock,
            calls=self.calls.of(host.id),
            on_hint=self._on_hint,
            deadlines=self._deadlines,
        )
        self._drivers[host.id] = (way, driver)
        return driver

    async def jump(self, host: HostResources) -> asyncssh.SSHClientConnection | None:
        """Return the connection that a host's guests are reached through, logging in if need be.

        None where nothing lies between: this machine's own guests, and those behind TLS, to which
        the network itself must lead.
        """
        self.get(host)
        return await self._routes[host.id].jump()

    async def forget(self, host_id: str) -> None:
        """Close the connections to a host that is no longer ours."""
        self._routes.pop(host_id, None)
        self.calls.forget(host_id)
        known = self._drivers.pop(host_id, None)
        if known is not None:
            await known[1].aclose()

    def _route(self, host: HostResources) -> Route:
        try:
            check_route(host)
        except Invalid as error:
            return _NoRoute(host.name, error)
        if host.transport is Transport.SSH:
            return SshTunnel(host, sockets=self._sockets, threads=self._threads)
        return DirectRoute(direct_uri(host))

    def _let_go(self, driver: LibvirtDriver) -> None:
        task = asyncio.create_task(driver.aclose(), name="close-driver")
        self._closings.add(task)
        task.add_done_callback(self._closings.discard)

    async def _aclose(self) -> None:
        for _, driver in self._drivers.values():
            self._let_go(driver)
        self._drivers.clear()
        if self._closings:
            await asyncio.wait(self._closings, timeout=CLOSE_SECONDS)
        self._threads.close()


class _NoRoute:
    """The way to a host whose record names none that is allowed."""

    def __init__(self, host: str, fault: Invalid) -> None:
        self._host = host
        self._fault = fault

    async def uri(self) -> str:
        """Refuse, with the record's fault."""
        raise self._refusal()

    async def jump(self) -> asyncssh.SSHClientConnection | None:
        """Refuse, with the record's fault."""
        raise self._refusal()

    async def aclose(self) -> None:
        """Do nothing."""

    def _refusal(self) -> HostRefused:
        return HostRefused(
            f"host {self._host} cannot be reached as configured: {self._fault.message}",
            remedy=self._fault.remedy,
            details=self._fault.details,
        )


def _way(host: HostResources) -> tuple[object, ...]:
    """Return what of a host's record leads to it; the rest a driver takes as it comes."""
    return (
        host.transport,
        host.uri,
        host.address,
        host.ssh_user,
        host.ssh_port,
        host.ssh_key,
        host.ssh_known_hosts,
    )
