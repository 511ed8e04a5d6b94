"""What goes wrong with machines, and what people do on them behind our back, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scheduler.model import DomainState, StateReason
from tests.hosts.fake import FakeDomain
from tests.model.cluster import Cluster
from tests.model.machines import Machine, Slot


def _shrink(slot: Slot) -> None:
    slot.machine.fake.cpus = 1


def _grow(slot: Slot) -> None:
    slot.machine.fake.cpus = 8


def _lose_pool(slot: Slot) -> None:
    slot.machine.fake.pool_active = False


def _fill(slot: Slot) -> None:
    """Fill the pool, which stops every guest that writes."""
    slot.machine.fake.full = True
    for domain in slot.machine.ours():
        if domain.state is DomainState.RUNNING:
            domain.state, domain.reason = DomainState.PAUSED, StateReason.IO_ERROR


def _make_room(slot: Slot) -> None:
    slot.machine.fake.full = False


def _power_cycle(slot: Slot) -> None:
    slot.drop_calls()
    slot.machine.power_cycle()


def _refuse(slot: Slot) -> None:
    slot.refusing += 9  # more than a host is given tries for one sandbox


def _lose_answers(slot: Slot) -> None:
    slot.losing += 3


_OF_SLOTS: Mapping[str, Callable[[Slot], None]] = {
    "shrink": _shrink,
    "grow": _grow,
    "lose the pool": _lose_pool,
    "fill the pool": _fill,
    "make room": _make_room,
    "power cycle": _power_cycle,
    "refuse": _refuse,
    "lose answers": _lose_answers,
    "hang": Slot.hang,
}
FAULTS = ("mend", "mend", "mend", "down", "replace", "put back", *_OF_SLOTS)

MISHAPS = ("refuse", "refuse", "down", "hang", "lose answers", "lose the pool")
"""What keeps a host from building: most likely to happen while it should."""


def break_slot(cluster: Cluster, host: str, fault: str) -> None:
    """Have something happen to a machine, or end what has."""
    slot, now = cluster.slots[host], cluster.clock.monotonic()
    if fault == "mend":
        slot.mend(now)
    elif fault == "down":
        slot.disconnect()
    elif fault == "replace":
        slot.replace(cluster.new_machine(slot.host_id))
    elif fault == "put back":
        slot.put_back(now)
    else:
        _OF_SLOTS[fault](slot)


def _turn(to: DomainState, reason: StateReason) -> Callable[[Machine, FakeDomain], None]:
    def turn(_machine: Machine, domain: FakeDomain) -> None:
        if domain.active:
            domain.state, domain.reason = to, reason

    return turn


def _resume(_machine: Machine, domain: FakeDomain) -> None:
    if domain.state is DomainState.PAUSED:
        domain.state = DomainState.RUNNING


def _rename(_machine: Machine, domain: FakeDomain) -> None:
    domain.name = f"renamed-{domain.uuid[:8]}"


def _undefine(machine: Machine, domain: FakeDomain) -> None:
    del machine.fake.domains[domain.uuid]
    machine.fake.disks.snapshots.pop(domain.uuid, None)


_OF_DOMAINS: Mapping[str, Callable[[Machine, FakeDomain], None]] = {
    "kill": _turn(DomainState.SHUT_OFF, StateReason.KILLED),
    "crash": _turn(DomainState.SHUT_OFF, StateReason.CRASHED),
    "halt": _turn(DomainState.SHUT_OFF, StateReason.GUEST_SHUTDOWN),
    "pause": _turn(DomainState.PAUSED, StateReason.OTHER),
    "fill its disk": _turn(DomainState.PAUSED, StateReason.IO_ERROR),
    "resume": _resume,
    "rename": _rename,
    "undefine": _undefine,
    "strip its mark": Machine.strip_mark,
}
INTERFERENCE = (*_OF_DOMAINS, "delete a volume", "put a domain", "put a volume")


def interfere(slot: Slot, number: int, act: str) -> None:
    """Do something on a machine without asking us; of domains, to the one of this number."""
    machine = slot.machine
    if act == "put a domain":
        # Some of our sandboxes want names like these.
        machine.put_foreign_domain(f"{number:08d}-0000-4000-9000-000000000000", f"box-{number}")
    elif act == "put a volume":
        machine.put_foreign_volume(f"theirs-{number}.qcow2")
    elif act == "delete a volume":
        ours = [name for name in machine.fake.volumes if name.startswith("sbx-")]
        if ours:
            del machine.fake.volumes[ours[number % len(ours)]]
    elif domains := machine.ours():
        _OF_DOMAINS[act](machine, domains[number % len(domains)])
