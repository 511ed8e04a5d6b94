"""Keeps what guests print while they boot: one item is a host with guests that are booting.

The record says who boots. Each turn listens to those and to nobody else, so that a console is let
go of as soon as its guest is ready, and a hung host keeps only its own turn. Listening is a favour:
what goes wrong with it is said beside what was heard, and is no fault of the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from scheduler.clock import Clock
from scheduler.errors import HostError, NotFound, SandboxdError, Unreadable
from scheduler.hosts.driver import HostDriver
from scheduler.lifecycle import consoles
from scheduler.model import Console, Heard, HostResources, Listening, Sandbox
from scheduler.store import Store, Transaction

MOST_AT_ONCE = 64
"""Guests on all hosts together: what is kept of them in memory is 4 MiB."""
LISTEN_SECONDS = 1.0
SOON_SECONDS = 0.5
"""How soon a guest that is being started is looked at again, to have its first words."""
AGAIN_SECONDS = 5.0
"""How soon a console that was refused, or a host that failed, is asked again."""
WRITE_SECONDS = 3.0
"""How long what was heard may be in memory alone while a guest boots."""

_NEVER = float("-inf")
_CROWDED = "{} other guests that were booting were listened to already"
_DIED = "the daemon ended while it listened"


@dataclass(slots=True, kw_only=True, eq=False)
class _Followed:
    """A guest that boots, and how it stands with its console."""

    console: Console
    host_id: str
    uuid: str
    lapse: str | None = None
    """Why nobody listens since somebody did; see `consoles.missed`."""
    seen_off: bool = False
    chosen: bool = False
    """It is one of those that are listened to."""
    hopeless: bool = False
    """Its host has no consoles."""
    again_at: float = _NEVER
    written: Console | None = None
    written_at: float = _NEVER

    @property
    def is_untold(self) -> bool:
        """Return whether there is something to write that is not written yet."""
        known = self.console.begun_at is not None or self.console.reason is not None
        return known and self.console is not self.written

    @property
    def has_first_words(self) -> bool:
        """Return whether something was printed, and the record says that nothing was."""
        return bool(self.console.printed) and not (self.written and self.written.printed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """A host, the guests that boot on it by their sandboxes' ids, and what is kept of new ones."""

    host: HostResources | None
    booting: Mapping[str, Sandbox]
    kept: Mapping[str, Console]


class ConsoleKeeper:
    """Listens on one host at a time; `Workers` sees to it that nobody else does there."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        drivers: Callable[[HostResources], HostDriver],
        most: int = MOST_AT_ONCE,
    ) -> None:
        self._store = store
        self._clock = clock
        self._drivers = drivers
        self._most = most
        self._followed: dict[str, _Followed] = {}
        self._holding: set[str] = set()
        """The hosts of which a console may be open."""

    async def keep(self, host_id: str) -> float | None:
        """Take in what a host's booting guests printed; None when none boots there any more."""
        known = {id: o.console.boot_at for id, o in self._followed.items() if o.host_id == host_id}
        recorded = await self._store.read(partial(_read, host_id, known))
        self._follow(host_id, recorded)
        here = [one for one in self._followed.values() if one.host_id == host_id]
        booting = [one for one in here if one.console.sandbox_id in recorded.booting]
        self._choose(booting)
        answered = await self._listen(host_id, recorded.host, here, booting)
        over = [one for one in here if one not in booting and self._is_here(one, host_id)]
        for one in over:
            one.console = consoles.ended(one.console, now=self._clock.now())
        await self._write(here, at_once=over)
        for one in over:
            del self._followed[one.console.sandbox_id]
        if not booting and host_id not in self._holding:
            return None
        return _pause(booting) if answered else AGAIN_SECONDS

    async def resume(self, *, listens: bool) -> frozenset[str]:
        """End what a former daemon listened to and is over; return where guests boot to listen to.

        Where nobody `listens` any more all of it is over.
        """
        unsettled, unended = await self._store.read(
            lambda tx: (tx.sandboxes.unsettled(), tx.consoles.unended())
        )
        booting = {one.id: one.host_id for one in unsettled if listens and consoles.booting(one)}
        now = self._clock.now()
        left = [one for one in unended if one.sandbox_id not in booting]
        if left:
            told = [consoles.unheard(one, _DIED, now=now) for one in left]
            # What cannot be written now is found again at the next start.
            with suppress(SandboxdError):
                await self._put([consoles.ended(one, now=now) for one in told])
        return frozenset(host_id for host_id in booting.values() if host_id is not None)

    async def flush(self) -> None:
        """Write what was heard and is in memory alone."""
        await self._write(self._followed.values(), at_once=self._followed.values())

    def _is_here(self, one: _Followed, host_id: str) -> bool:
        """Return whether it is this host's still: it may have gone on elsewhere meanwhile."""
        return one.host_id == host_id and self._followed.get(one.console.sandbox_id) is one

    def _follow(self, host_id: str, recorded: _Recorded) -> None:
        """Go by the record: who boots here, since when, and what a former daemon heard of it."""
        for sandbox_id, sandbox in recorded.booting.items():
            boot_at, one = consoles.boot_of(sandbox), self._followed.get(sandbox_id)
            written = recorded.kept.get(sandbox_id)
            if one is not None and written is not None and written.boot_at == boot_at:
                # The clock was set: the same boot is known by another time.
                one.console = replace(one.console, boot_at=boot_at)
            if one is None or one.console.boot_at != boot_at:
                kept = one.console if one is not None else written
                console = consoles.of_boot(kept, sandbox_id, boot_at, now=self._clock.now())
                one = self._followed[sandbox_id] = _Followed(
                    console=console, host_id=host_id, uuid=sandbox.domain_uuid or ""
                )
                one.lapse = consoles.resumed(kept, console)
            elif one.host_id != host_id:
                one.host_id, one.seen_off, one.hopeless = host_id, False, False
                one.lapse = None if one.console.begun_at is None else consoles.BEGUN_ANEW

    def _choose(self, booting: Sequence[_Followed]) -> None:
        """Have as many more be listened to as there may be; the others are told why not.

        Who was refused, or whose host failed, has given the place back, and asks for it anew.
        """
        now, why = self._clock.now(), _CROWDED.format(self._most)
        asks_at = self._clock.monotonic()
        free = self._most - sum(one.chosen for one in self._followed.values())
        for one in booting:
            if one.chosen or one.hopeless or one.again_at > asks_at:
                continue
            one.chosen, free = free > 0, free - 1
            if not one.chosen:
                one.console = consoles.unheard(one.console, why, now=now)

    async def _listen(
        self,
        host_id: str,
        host: HostResources | None,
        here: Sequence[_Followed],
        booting: Sequence[_Followed],
    ) -> bool:
        """Ask the host for what was printed; return whether it answered, if it had to."""
        wanted = tuple(one.uuid for one in booting if one.chosen)
        if host is None:
            self._holding.discard(host_id)
        if host is None or not (wanted or host_id in self._holding):
            return True
        self._holding.add(host_id)
        try:
            heard = await self._drivers(host).listen(wanted)
        except HostError as error:
            for one in booting:
                if one.chosen and self._is_here(one, host_id):
                    self._lapsed(one, error.message)
            return False
        for one in here:
            if one.uuid in heard and self._is_here(one, host_id):
                self._take(one, heard[one.uuid])
        if all(heard[uuid].listening is not Listening.OPEN for uuid in wanted):
            self._holding.discard(host_id)
        return True

    def _take(self, one: _Followed, heard: Heard) -> None:
        now = self._clock.now()
        # One that is open since an earlier boot, which its host was never told was over, counts.
        left_open = heard.listening is Listening.OPEN and one.console.begun_at is None
        if heard.opened or left_open:
            lapse = one.lapse if heard.opened else consoles.BEGUN_ANEW
            missed = consoles.missed(one.console, lapse=lapse, seen_off=one.seen_off)
            one.console = consoles.opened(one.console, missed=missed, now=now)
            one.lapse, one.seen_off = None, False
        one.console = consoles.heard(one.console, heard.data, now=now)
        if heard.listening is Listening.OFF:
            one.seen_off = True
        elif heard.listening is not Listening.OPEN:
            one.hopeless = heard.listening is Listening.UNSUPPORTED
            self._lapsed(one, heard.why or "")

    def _lapsed(self, one: _Followed, why: str) -> None:
        """Say why nobody listens; others have its place, and it asks for one again later."""
        one.chosen, one.again_at = False, self._clock.monotonic() + AGAIN_SECONDS
        one.lapse, one.seen_off = why, False
        one.console = consoles.unheard(one.console, why, now=self._clock.now())

    async def _write(self, here: Collection[_Followed], *, at_once: Iterable[_Followed]) -> None:
        """Write what is new of these, unless that was done a moment ago and can wait."""
        now, urgent = self._clock.monotonic(), list(at_once)
        urgent += (one for one in here if one.has_first_words)
        due = [
            one
            for one in here
            if one.is_untold and (one in urgent or now - one.written_at >= WRITE_SECONDS)
        ]
        if not due:
            return
        written = [one.console for one in due]
        await self._put(written)
        for one, console in zip(due, written, strict=True):
            one.written, one.written_at = console, now

    async def _put(self, heard: Sequence[Console]) -> None:
        await self._store.submit(partial(_write, tuple(heard)))


def _read(host_id: str, known: Mapping[str, datetime], tx: Transaction) -> _Recorded:
    """Read who boots on a host, and what is kept of those whose boots are not `known` as such."""
    try:
        host = tx.hosts.get(host_id)
    except NotFound:
        return _Recorded(host=None, booting={}, kept={})
    booting = {one.id: one for one in tx.sandboxes.booting_on(host_id)}
    new = [id for id, one in booting.items() if known.get(id) != consoles.boot_of(one)]
    found = [_kept(id, tx) for id in new]
    kept = {one.sandbox_id: one for one in found if one is not None}
    return _Recorded(host=host, booting=booting, kept=kept)


def _write(heard: Sequence[Console], tx: Transaction) -> None:
    """Write consoles; one whose sandbox is forgotten meanwhile goes with it."""
    for console in heard:
        with suppress(NotFound, Unreadable):
            boot_at = consoles.boot_of(tx.sandboxes.get(console.sandbox_id))
            written = _kept(console.sandbox_id, tx)
            # The same boot has another time where the clock was set since it was listened to.
            shifted = written is not None and written.boot_at == boot_at
            tx.consoles.put(replace(console, boot_at=boot_at) if shifted else console)


def _kept(sandbox_id: str, tx: Transaction) -> Console | None:
    """Return what is kept; what cannot be read is written over."""
    with suppress(Unreadable):
        return tx.consoles.get(sandbox_id)
    return None


def _pause(booting: Sequence[_Followed]) -> float:
    """Return when to listen again: soon while one that is listened to has yet to begin to print."""
    chosen = [one for one in booting if one.chosen]
    if not chosen:
        return AGAIN_SECONDS
    starts = any(one.seen_off or one.console.begun_at is None for one in chosen)
    return SOON_SECONDS if starts else LISTEN_SECONDS
