"""Filters on what a host is: its state, health, architecture, labels, images, networks and pool.

Each is a predicate on the host's record, whose answers the fleet remembers as a column. A host that
was never observed is refused, but not given up: nobody knows yet what it offers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from scheduler.model import HostHealth, HostResources, HostState, VirtType
from scheduler.placement.column import BoolColumn
from scheduler.placement.demand import ANY_IMAGE, Demand
from scheduler.placement.filter import Case, Filter, Question
from scheduler.placement.fleet import Fleet

Asked = TypeVar("Asked", bound=Hashable)
Labels = tuple[tuple[str, str], ...]

_MOST_NAMED = 8
"""A pool may hold hundreds of images: a refusal names the first few."""


class Constraint(Filter, Generic[Asked]):
    """A filter decided by one host's record and the part of the demand that is `asked`."""

    def passing(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return the remembered answers of `met`."""
        return fleet.answers(self.met, self.asked(question.demand))

    def hopeful(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return the remembered answers of `may_meet`."""
        return fleet.answers(self.may_meet, self.asked(question.demand))

    def have(self, fleet: Fleet, question: Question) -> Sequence[object]:
        """Return what every host has of it."""
        asked = self.asked(question.demand)
        return [self.held(host, asked) for host in fleet.records]

    def lacking(self, case: Case, question: Question) -> object:
        """Return what the refused host has of it."""
        return self.held(case.host, self.asked(question.demand))

    def need(self, question: Question) -> object:
        """Return what is asked for."""
        return self.asked(question.demand)

    @abstractmethod
    def asked(self, demand: Demand) -> Asked:
        """Return the part of the demand that matters here."""

    @abstractmethod
    def met(self, host: HostResources, asked: Asked) -> bool:
        """Return whether the host passes."""

    def may_meet(self, host: HostResources, asked: Asked) -> bool:
        """Return whether the host passes or may pass in time."""
        return host.observed_at is None or self.met(host, asked)

    @abstractmethod
    def held(self, host: HostResources, asked: Asked) -> object:
        """Return what the host has of it, fit for JSON."""


class State(Constraint[str]):
    """Only what the operator left ACTIVE takes new sandboxes; what is being removed never will."""

    name = "state"

    def asked(self, demand: Demand) -> str:
        """Return the one state that places."""
        return HostState.ACTIVE.value

    def met(self, host: HostResources, asked: str) -> bool:
        """Return whether the operator lets the host take work."""
        return host.state is HostState.ACTIVE

    def may_meet(self, host: HostResources, asked: str) -> bool:
        """Return whether an operator may give the host back."""
        return host.state is not HostState.REMOVING

    def held(self, host: HostResources, asked: str) -> object:
        """Return the host's state."""
        return host.state.value

    def reason(self, case: Case, question: Question) -> str:
        """Return the state and the operator's reason for it."""
        state = _STATE_WORDS[case.host.state]
        return f"{state}: {case.host.state_reason}" if case.host.state_reason else state

    def change(self, case: Case, question: Question) -> str:
        """Return how to make the host ACTIVE again."""
        return _STATE_CHANGES[case.host.state].format(host=case.host.name)


_STATE_WORDS: Mapping[HostState, str] = {
    HostState.CORDONED: "cordoned",
    HostState.DRAINING: "draining",
    HostState.DRAINED: "drained",
    HostState.REMOVING: "being removed",
}
_STATE_CHANGES: Mapping[HostState, str] = {
    HostState.CORDONED: "uncordon {host}",
    HostState.DRAINING: "abort the drain of {host}",
    HostState.DRAINED: "uncordon {host}",
    HostState.REMOVING: "add {host} again",
}


class Health(Constraint[str]):
    """Only hosts whose last polls all succeeded take new sandboxes."""

    name = "health"

    def asked(self, demand: Demand) -> str:
        """Return the one health that places."""
        return HostHealth.UP.value

    def met(self, host: HostResources, asked: str) -> bool:
        """Return whether polling finds the host well."""
        return host.health is HostHealth.UP

    def may_meet(self, host: HostResources, asked: str) -> bool:
        """Return true: any host may come back."""
        return True

    def held(self, host: HostResources, asked: str) -> object:
        """Return the host's health."""
        return host.health.value

    def reason(self, case: Case, question: Question) -> str:
        """Return the health and what polling met."""
        health = f"health {case.host.health.value}"
        return f"{health}: {case.host.health_reason}" if case.host.health_reason else health

    def change(self, case: Case, question: Question) -> str:
        """Return that the host must answer."""
        return f"bring {case.host.name} back: it is {case.host.health.value}, not UP"


class Architecture(Constraint[str | None]):
    """The host's CPUs are of the kind asked for, and its hypervisor is the one it is meant to be.

    An operator who says `kvm` must not get guests emulated a hundred times slower: a proof to the
    contrary takes the host out of placement.
    """

    name = "architecture"

    def asked(self, demand: Demand) -> str | None:
        """Return the architecture, or None for any."""
        return demand.arch

    def met(self, host: HostResources, asked: str | None) -> bool:
        """Return whether the host runs such guests in the way it is meant to."""
        return _as_meant(host) and asked in (None, host.arch)

    def may_meet(self, host: HostResources, asked: str | None) -> bool:
        """Return whether the host is, or may turn out to be, of this architecture."""
        return host.arch is None or asked in (None, host.arch)

    def held(self, host: HostResources, asked: str | None) -> object:
        """Return the host's architecture."""
        return host.arch

    def reason(self, case: Case, question: Question) -> str:
        """Return what kind of CPUs or hypervisor was found instead."""
        host, asked = case.host, question.demand.arch
        if not _as_meant(host):
            return f"meant to run {host.virt_type.value}, proven to run {host.proven_virt_type}"
        return f"architecture {host.arch or 'unknown'}, not {asked}"

    def change(self, case: Case, question: Question) -> str:
        """Return how to agree on an architecture."""
        host = case.host
        if not _as_meant(host):
            return f"make {host.virt_type.value} work on {host.name}, or set its virt_type to auto"
        return f"ask for arch {host.arch}" if host.arch else f"wait for a poll of {host.name}"


def _as_meant(host: HostResources) -> bool:
    meant, proven = host.virt_type, host.proven_virt_type
    return meant is VirtType.AUTO or proven in (None, meant)


class Selector(Constraint[Labels]):
    """The host carries every label asked for, with exactly that value."""

    name = "labels"

    def passing(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return who carries the labels, if any are asked for."""
        return super().passing(fleet, question) if question.demand.selector else None

    def asked(self, demand: Demand) -> Labels:
        """Return the labels in a fixed order."""
        return tuple(sorted(demand.selector.items()))

    def met(self, host: HostResources, asked: Labels) -> bool:
        """Return whether every label is there."""
        return all(host.labels.get(key) == value for key, value in asked)

    def may_meet(self, host: HostResources, asked: Labels) -> bool:
        """Return whether every label is there: labels are the operator's, not observed."""
        return self.met(host, asked)

    def need(self, question: Question) -> object:
        """Return the labels asked for."""
        return dict(self.asked(question.demand)) or None

    def held(self, host: HostResources, asked: Labels) -> object:
        """Return the host's values of the labels asked for."""
        return {key: host.labels.get(key) for key, _ in asked}

    def reason(self, case: Case, question: Question) -> str:
        """Return the labels that differ."""
        labels = case.host.labels
        return "; ".join(
            f"label {key}={value} wanted, "
            + (f"has {key}={labels[key]}" if key in labels else f"has no {key}")
            for key, value in self._differing(case.host, question)
        )

    def change(self, case: Case, question: Question) -> str:
        """Return which labels to set."""
        pairs = [f"{key}={value}" for key, value in self._differing(case.host, question)]
        return f"label {case.host.name} with {', '.join(pairs)}"

    def _differing(self, host: HostResources, question: Question) -> Labels:
        asked = self.asked(question.demand)
        return tuple((key, value) for key, value in asked if host.labels.get(key) != value)


class Image(Constraint[str]):
    """The base image lies in the host's pool, or can be brought there."""

    name = "image"

    def passing(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return who holds the volume; an image that the control node keeps can go anywhere."""
        if _anywhere(question.demand):
            return None
        return super().passing(fleet, question)

    def hopeful(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return who may hold it in time."""
        if _anywhere(question.demand):
            return None
        return super().hopeful(fleet, question)

    def asked(self, demand: Demand) -> str:
        """Return the image's name."""
        return demand.image

    def met(self, host: HostResources, asked: str) -> bool:
        """Return whether the last poll saw it."""
        return asked in host.observed_images

    def held(self, host: HostResources, asked: str) -> object:
        """Return the first few images that are there, or the one asked for."""
        return [asked] if self.met(host, asked) else _first(host.observed_images)

    def reason(self, case: Case, question: Question) -> str:
        """Return where the image is missing."""
        return f"no image {question.demand.image} in pool {case.host.pool}"

    def change(self, case: Case, question: Question) -> str:
        """Return where to put the image."""
        host = case.host
        return f"put image {question.demand.image} into pool {host.pool} of {host.name}"


def _anywhere(demand: Demand) -> bool:
    return demand.image_digest is not None or demand.image == ANY_IMAGE


class Network(Constraint[str | None]):
    """The network is one that the host offers, and active there."""

    name = "network"

    def asked(self, demand: Demand) -> str | None:
        """Return the network's name, or None for the host's own."""
        return demand.network

    def met(self, host: HostResources, asked: str | None) -> bool:
        """Return whether it is offered, and the last poll saw it active."""
        wanted = _network(host, asked)
        return host.offers(wanted) and wanted in host.observed_networks

    def may_meet(self, host: HostResources, asked: str | None) -> bool:
        """Return whether the host offers it: an inactive one may be started."""
        return host.offers(_network(host, asked))

    def held(self, host: HostResources, asked: str | None) -> object:
        """Return the first few networks that are offered and active."""
        return _first([name for name in host.observed_networks if host.offers(name)])

    def reason(self, case: Case, question: Question) -> str:
        """Return which network is missing."""
        wanted = _network(case.host, question.demand.network)
        return f"network {wanted} is not {'active' if case.host.offers(wanted) else 'offered'}"

    def change(self, case: Case, question: Question) -> str:
        """Return which network to start or to offer."""
        host, wanted = case.host, _network(case.host, question.demand.network)
        verb = "start" if host.offers(wanted) else "offer"
        return f"{verb} network {wanted} on {host.name}"


def _network(host: HostResources, asked: str | None) -> str:
    return host.network if asked is None else asked


class Pool(Constraint[str | None]):
    """The host's pool is the one asked for, and active."""

    name = "pool"

    def asked(self, demand: Demand) -> str | None:
        """Return the pool's name, or None for the host's own."""
        return demand.pool

    def met(self, host: HostResources, asked: str | None) -> bool:
        """Return whether the last poll saw the right pool active."""
        return host.observed_pool_active and asked in (None, host.pool)

    def may_meet(self, host: HostResources, asked: str | None) -> bool:
        """Return whether it is the right pool: an inactive one may be started."""
        return asked in (None, host.pool)

    def held(self, host: HostResources, asked: str | None) -> object:
        """Return the pool's name, when it is active."""
        return host.pool if host.observed_pool_active else None

    def reason(self, case: Case, question: Question) -> str:
        """Return whether the pool is another one or asleep."""
        pool, asked = case.host.pool, question.demand.pool
        if asked in (None, pool):
            return f"pool {pool} is not active"
        return f"its pool is {pool}, not {asked}"

    def change(self, case: Case, question: Question) -> str:
        """Return which pool to start or to ask for."""
        pool, asked = case.host.pool, question.demand.pool
        if asked in (None, pool):
            return f"start pool {pool} on {case.host.name}"
        return f"ask for pool {pool}"


def _first(names: Sequence[str]) -> list[str]:
    return list(names[:_MOST_NAMED])
