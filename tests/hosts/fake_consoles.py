"""Consoles of a host in memory: a guest prints, and who has its console by then hears it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from scheduler.errors import HostRefused
from scheduler.model.observations import Heard, Listening

if TYPE_CHECKING:
    from tests.hosts.fake_host import FakeDomain, FakeHost

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class FakeConsole:
    """A console that somebody has open, and what was printed since it was last read."""

    reader: object
    """The driver that opened it; a driver that is gone has closed it."""
    unread: bytearray = field(default_factory=bytearray)


OPERATOR = object()
"""A reader of a console who is none of our drivers."""


class FakeConsoles:
    """The verb of the port that is about consoles."""

    host: FakeHost
    _ours: Callable[[str], FakeDomain | None]
    _call: Callable[[str, Callable[[], T]], Awaitable[T]]
    _consoles: dict[str, FakeConsole]

    async def listen(self, uuids: Collection[str]) -> Mapping[str, Heard]:
        if not uuids and not self._consoles:
            return {}
        return await self._call("listen", lambda: self._listen(uuids))

    def _listen(self, uuids: Collection[str]) -> dict[str, Heard]:
        if not self.host.streams:
            why = "the host's driver has no consoles"
            return {uuid: Heard(listening=Listening.UNSUPPORTED, why=why) for uuid in uuids}
        heard = {uuid: self._let_go(uuid) for uuid in set(self._consoles) - set(uuids)}
        return heard | {uuid: self._hear(uuid) for uuid in uuids}

    def _let_go(self, uuid: str) -> Heard:
        console, domain = self._consoles[uuid], self.host.domains.get(uuid)
        heard = self._unread(uuid, console, domain, opened=False)
        self._consoles.pop(uuid, None)
        if domain is not None and domain.console is console:
            domain.console = None
        return heard

    def _hear(self, uuid: str) -> Heard:
        console, domain = self._consoles.get(uuid), self.host.domains.get(uuid)
        if console is not None:
            return self._unread(uuid, console, domain, opened=False)
        try:
            domain = self._ours(uuid)
        except HostRefused as error:
            return Heard(listening=Listening.REFUSED, why=error.message)
        if domain is None or not domain.active:
            return Heard(listening=Listening.OFF)
        if domain.console is not None and domain.console.reader is OPERATOR:
            why = "Active console session exists for this domain"
            return Heard(listening=Listening.REFUSED, why=why)
        domain.console = self._consoles[uuid] = console = FakeConsole(reader=self)
        domain.say(self.host.greeting)
        return self._unread(uuid, console, domain, opened=True)

    def _unread(
        self, uuid: str, console: FakeConsole, domain: FakeDomain | None, *, opened: bool
    ) -> Heard:
        data, console.unread = bytes(console.unread), bytearray()
        if domain is not None and domain.active and domain.console is console:
            return Heard(listening=Listening.OPEN, data=data, opened=opened)
        del self._consoles[uuid]
        return Heard(listening=Listening.OFF, data=data, opened=opened)
