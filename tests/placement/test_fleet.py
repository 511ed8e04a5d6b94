"""A fleet changed in place is the fleet built anew, whatever happened to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from scheduler.errors import NotFound
from scheduler.model import HostHealth, HostResources, Resources
from scheduler.placement import Demand, Fleet, Policy, choose, explain, explanation_document
from scheduler.placement.column import Column
from scheduler.placement.fleet import MOST_ANSWERS
from tests.placement import fleets
from tests.placement.fleets import NOW, demand, host

IDS = st.sampled_from(["1", "2", "3"])
GROUPS = st.sampled_from([None, "g", "h"])


class Changes(RuleBasedStateMachine):
    """Changes a fleet in place and, beside it, the plain records that it stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet.of(())
        self.records: dict[str, HostResources] = {}
        self.groups: dict[str, set[str]] = {}

    @rule(host_id=IDS, each=fleets.hosts())
    def put(self, host_id: str, each: HostResources) -> None:
        """Add a host, replace it, rename it; two may even bear one name."""
        each = replace(each, id=host_id)
        self.fleet.put(each)
        self.records[host_id] = each
        self.groups.setdefault(host_id, set())

    @rule(host_id=IDS)
    def drop(self, host_id: str) -> None:
        """Drop a host, if it is there."""
        if self.records.pop(host_id, None) is None:
            with pytest.raises(NotFound):
                self.fleet.drop(host_id)
        else:
            self.fleet.drop(host_id)
            del self.groups[host_id]

    @rule(host_id=IDS, resources=fleets.resources(), group=GROUPS)
    def claim(self, host_id: str, resources: Resources, group: str | None) -> None:
        """Claim on a host, fitting or not: the guard is the store's."""
        if host_id in self.records:
            self.fleet.claim(host_id, resources, group)
            self._reserve(host_id, resources, 1)
            self.groups[host_id] |= {group} - {None}  # type: ignore[arg-type]

    @rule(host_id=IDS, resources=fleets.resources(), group=GROUPS)
    def release(self, host_id: str, resources: Resources, group: str | None) -> None:
        """Release on a host what may never have been claimed."""
        if host_id in self.records:
            self.fleet.release(host_id, resources, group)
            self._reserve(host_id, resources, -1)
            self.groups[host_id].discard(str(group))

    @rule(asked=fleets.demands())
    def ask(self, asked: Demand) -> None:
        """Decide in between, so that answers are remembered."""
        choose(asked, self.fleet, Policy.SPREAD, now=NOW)

    @invariant()
    def is_the_fleet_built_anew(self) -> None:
        """Compare records, numbers and a decision of every kind."""
        rebuilt = Fleet.of(self.records.values(), self.groups)
        assert len(self.fleet) == len(rebuilt)
        assert self.fleet.hosts() == rebuilt.hosts()
        for name in ("free", "limit", "share", "inverse", "seen"):
            np.testing.assert_array_equal(getattr(self.fleet, name), getattr(rebuilt, name))
        for asked in (demand(1, 1, 1), demand(1, 1, 1, anti_affinity_group="g", host="b")):
            told = [
                explanation_document(explain(asked, fleet, Policy.SPREAD, now=NOW))
                for fleet in (self.fleet, rebuilt)
            ]
            assert told[0] == told[1]

    def _reserve(self, host_id: str, resources: Resources, sign: int) -> None:
        was = self.records[host_id]
        self.records[host_id] = replace(
            was,
            reserved_cpus=was.reserved_cpus + sign * resources.vcpus,
            reserved_memory_mb=was.reserved_memory_mb + sign * resources.memory_mb,
            reserved_storage_mb=was.reserved_storage_mb + sign * resources.storage_mb,
            reserved_sandboxes=was.reserved_sandboxes + sign,
        )


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=50, stateful_step_count=12, deadline=None)


def test_a_group_is_heeded_whether_or_not_it_was_asked_for_before() -> None:
    fleet = Fleet.of([host("a"), host("b")])
    asked = demand(anti_affinity_group="g")

    fleet.claim("HST-a", Resources(), "g")
    assert choose(asked, fleet, Policy.SPREAD, now=NOW).refusals == {"anti_affinity": 1}

    fleet.claim("HST-b", Resources(), "g")
    assert choose(asked, fleet, Policy.SPREAD, now=NOW).refusals == {"anti_affinity": 2}

    fleet.release("HST-a", Resources(), "g")
    chosen = choose(asked, fleet, Policy.SPREAD, now=NOW).chosen
    assert chosen is not None
    assert chosen.host_name == "a"


def test_host_tells_what_is_reserved_now() -> None:
    fleet = Fleet.of([host("a", reserved_cpus=1, limit_sandboxes=None)])

    fleet.claim("HST-a", Resources(vcpus=2, memory_mb=300, storage_mb=4_000))
    fleet.claim("HST-a", Resources(vcpus=1))
    fleet.release("HST-a", Resources(memory_mb=100))

    seen = fleet.host("HST-a")
    assert seen.reserved == Resources(vcpus=4, memory_mb=200, storage_mb=4_000)
    assert seen.reserved_sandboxes == 1
    assert seen.limit_sandboxes is None
    assert fleet.records[0].reserved_cpus == 1


def test_put_replaces_claims_by_the_record() -> None:
    fleet = Fleet.of([host("a")])
    fleet.claim("HST-a", Resources(vcpus=16))

    fleet.put(host("a", reserved_cpus=3))

    assert fleet.host("HST-a").reserved_cpus == 3


def test_a_group_stays_where_its_host_is_replaced_and_goes_with_it() -> None:
    fleet = Fleet.of([host("a")], {"HST-a": ["g"]})
    asked = demand(anti_affinity_group="g")

    fleet.put(host("z", id="HST-a"))
    assert choose(asked, fleet, Policy.SPREAD, now=NOW).refusals == {"anti_affinity": 1}

    fleet.drop("HST-a")
    fleet.put(host("a"))
    assert choose(asked, fleet, Policy.SPREAD, now=NOW).chosen is not None


@pytest.mark.parametrize("change", ["claim", "release"])
def test_a_host_that_is_not_there_cannot_be_claimed(change: str) -> None:
    with pytest.raises(NotFound, match="HST-nobody"):
        getattr(Fleet.of([host("a")]), change)("HST-nobody", Resources())


def test_remembered_answers_are_bounded() -> None:
    fleet = Fleet.of([host("a"), host("b")])

    for number in range(3 * MOST_ANSWERS):
        asked = demand(image=f"image-{number}", anti_affinity_group=f"group-{number}")
        choose(asked, fleet, Policy.SPREAD, now=NOW)

    remembered = (fleet._answers, fleet._without, fleet.memory)
    assert [len(each) <= MOST_ANSWERS for each in remembered] == [True, True, True]
    assert choose(demand(), fleet, Policy.SPREAD, now=NOW).chosen is not None


def test_a_changed_record_is_believed_at_once() -> None:
    fleet = Fleet.of([host("a")])
    assert choose(demand(), fleet, Policy.SPREAD, now=NOW).chosen is not None

    fleet.put(host("a", health=HostHealth.DOWN))

    assert choose(demand(), fleet, Policy.SPREAD, now=NOW).refusals == {"health": 1}


def test_columns_grow_by_doubling() -> None:
    column = Column(np.zeros((2, 0), np.int64))
    stored = set()
    for number in range(100):
        column.open(0)
        column.values[:, 0] = number
        stored.add(column._stored.shape[-1])

    assert stored == {16, 32, 64, 128}
    assert column.values[1].tolist() == list(range(99, -1, -1))
