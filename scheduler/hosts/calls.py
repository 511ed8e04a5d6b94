"""What calls to hosts took and how they failed, for who tells of it: plain numbers, kept here.

Counted in the event loop's thread, events alone in libvirt's. How long a call was with its host is
told apart from how long it waited for slots, threads and turns of ours. A call that its caller left
is not counted: nobody knows how it ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from scheduler.durations import Durations
from scheduler.errors import HostRefused, HostTimeout, HostUnreachable, IdentityChanged
from scheduler.hosts.deadlines import Verb
from scheduler.hosts.failures import ObjectAbsent, ObjectBusy
from scheduler.hosts.lanes import CallNotBegun, Spent

LASTED = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0)
"""From a look-up to a whole disk that is copied; few, as there are two dozen kinds of calls."""
WAITED = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)


class Fault(StrEnum):
    """Why a call failed."""

    NOT_BEGUN = "not_begun"
    TIMEOUT = "timeout"
    LOST = "lost"
    OTHER_MACHINE = "other_machine"
    BUSY = "busy"
    ABSENT = "absent"
    REFUSED = "refused"
    BUG = "bug"


_FAULTS: tuple[tuple[type[Exception], Fault], ...] = (
    (CallNotBegun, Fault.NOT_BEGUN),
    (HostTimeout, Fault.TIMEOUT),
    (HostUnreachable, Fault.LOST),
    (IdentityChanged, Fault.OTHER_MACHINE),
    (ObjectBusy, Fault.BUSY),
    (ObjectAbsent, Fault.ABSENT),
    (HostRefused, Fault.REFUSED),
)
"""The first that an error is an instance of; anything else is a bug of ours."""


def fault_of(error: Exception) -> Fault:
    """Return why a call failed, by what it raised."""
    return next((fault for kind, fault in _FAULTS if isinstance(error, kind)), Fault.BUG)


@dataclass(slots=True)
class HostCalls:
    """The calls to one host since the daemon began."""

    made: int = 0
    seconds: float = 0.0
    """How long they were with the host."""
    waited_seconds: float = 0.0
    failed: Counter[Fault] = field(default_factory=Counter)
    reconnects: int = 0
    """Connections that took the place of one that was lost, or on which a call hung."""
    events: int = 0
    """What the host told by itself of its domains."""


@dataclass(slots=True)
class Calls:
    """The calls to all hosts together, and to each of them by its id."""

    lasted: dict[Verb, Durations] = field(
        default_factory=lambda: {verb: Durations(LASTED) for verb in Verb if verb is not Verb.CLOSE}
    )
    waited: Durations = field(default_factory=lambda: Durations(WAITED))
    failed: Counter[tuple[Verb, Fault]] = field(default_factory=Counter)
    hosts: dict[str, HostCalls] = field(default_factory=dict)

    def of(self, host_id: str) -> CallsOf:
        """Return where the calls to a host are counted, on from where they were."""
        return CallsOf(self, self.hosts.setdefault(host_id, HostCalls()))

    def forget(self, host_id: str) -> None:
        """Forget a host that is no longer ours."""
        self.hosts.pop(host_id, None)


class CallsOf:
    """Counts the calls to one host, as its own and among all."""

    def __init__(self, fleet: Calls, host: HostCalls) -> None:
        self._fleet = fleet
        self._host = host

    @contextmanager
    def counted(self, verb: Verb) -> Iterator[Spent]:
        """Count a call by how it ends; what is yielded is to be told where its time went."""
        spent = Spent()
        try:
            yield spent
        except Exception as error:
            fault = fault_of(error)
            self._fleet.failed[verb, fault] += 1
            self._host.failed[fault] += 1
            self._add(verb, spent)
            raise
        self._add(verb, spent)

    def reconnected(self) -> None:
        """Count a connection that took the place of a lost one."""
        self._host.reconnects += 1

    def heard(self) -> None:
        """Count an event of the host; called in libvirt's thread, and by nobody else."""
        self._host.events += 1

    def _add(self, verb: Verb, spent: Spent) -> None:
        host, took, waited = self._host, spent.seconds, spent.waited_seconds
        host.waited_seconds += waited
        self._fleet.waited.add(waited)
        if took is not None:
            host.made += 1
            host.seconds += took
            self._fleet.lasted[verb].add(took)
