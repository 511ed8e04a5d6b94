"""An explanation says of every host what each constraint finds, whatever the others say."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.model import HostResources, HostState
from scheduler.placement import (
    Demand,
    Fleet,
    Policy,
    choose,
    decision_of,
    explain,
    explanation_document,
)
from scheduler.placement.documents import demand_document, demand_of
from tests.placement import fleets, oracle
from tests.placement.fleets import NOW, demand, host

POLICIES = st.sampled_from(Policy)


@given(hosts=fleets.fleets(), asked=fleets.demands(), groups=fleets.groups(), policy=POLICIES)
def test_every_host_is_weighed_against_every_constraint(
    hosts: list[HostResources], asked: Demand, groups: dict[str, set[str]], policy: Policy
) -> None:
    fleet = Fleet.of(hosts, groups)
    explanation = explain(asked, fleet, policy, now=NOW)

    asked_for = [each.filter for each in explanation.constraints]
    by_name = sorted(hosts, key=lambda each: each.name)
    for each, weighed in zip(by_name, explanation.hosts, strict=True):
        refused = oracle.refused_by(each, asked, groups.get(each.id, ()))
        assert weighed.host_id == each.id
        assert list(weighed.refused) == refused
        assert weighed.eligible is not bool(refused)
        assert weighed.score == (None if refused else oracle.score_of(policy, each, asked))
        assert len(weighed.have) == len(asked_for)
        assert set(refused) <= set(asked_for)


@given(hosts=fleets.fleets(), asked=fleets.demands(), groups=fleets.groups())
def test_what_is_said_of_a_host_is_what_its_refusal_says(
    hosts: list[HostResources], asked: Demand, groups: dict[str, set[str]]
) -> None:
    explanation = explain(asked, Fleet.of(hosts, groups), Policy.SPREAD, now=NOW)
    rows = {constraint.filter: row for row, constraint in enumerate(explanation.constraints)}
    weighed = {each.host_id: each for each in explanation.hosts}

    for refusal in explanation.choice.hosts:
        row, told = rows[refusal.filter], weighed[refusal.host_id]
        assert told.refused[0] == refusal.filter
        assert told.message == refusal.message
        assert told.have[row] == refusal.have
        assert explanation.constraints[row].need == refusal.need


@given(hosts=fleets.fleets(), asked=fleets.demands(), groups=fleets.groups(), policy=POLICIES)
def test_documents_survive_json(
    hosts: list[HostResources], asked: Demand, groups: dict[str, set[str]], policy: Policy
) -> None:
    fleet = Fleet.of(hosts, groups)
    choice = choose(asked, fleet, policy, now=NOW)
    decision = decision_of(choice, id="DEC-1", sandbox_id=None, at=NOW)
    documents = [
        explanation_document(explain(asked, fleet, policy, now=NOW)),
        decision.demand,
        list(decision.chosen),
        dict(decision.refusals),
        list(decision.nearest),
        list(decision.hosts),
    ]

    for document in documents:
        assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_only_what_is_asked_is_a_constraint() -> None:
    fleet = Fleet.of([host()])
    always = [
        "state", "health", "freshness", "architecture", "image", "network", "pool", "cpu", "memory",
        "storage", "limits",
    ]  # fmt: skip

    def asked(of: Demand) -> Collection[str]:
        return [each.filter for each in explain(of, fleet, Policy.SPREAD, now=NOW).constraints]

    assert asked(demand()) == always
    more = demand(host="a", selector={"zone": "a"}, anti_affinity_group="g")
    assert set(asked(more)) - set(always) == {"pin", "labels", "anti_affinity"}


@given(demand=fleets.demands())
def test_a_stored_demand_is_read_back_as_it_was(demand: Demand) -> None:
    stored = json.loads(json.dumps(demand_document(demand)))
    again = demand_of(stored)
    assert replace(again, tried=()) == replace(demand, tried=())
    assert sorted(again.tried) == sorted(demand.tried)


def test_documents_of_a_decision() -> None:
    hosts = [host("a"), host("b"), host("c", limit_cpus=1), host("d", state=HostState.CORDONED)]
    choice = choose(demand(selector={"zone": "a"}), Fleet.of(hosts), Policy.SPREAD, now=NOW)

    decision = decision_of(choice, id="DEC-1", sandbox_id="SBX-1", at=NOW)

    assert (decision.id, decision.sandbox_id, decision.created_at) == ("DEC-1", "SBX-1", NOW)
    assert (decision.outcome, decision.policy) == ("placed", "spread")
    assert (decision.host_id, decision.host_name) == ("HST-a", "a")
    assert decision.demand == {
        "vcpus": 2,
        "memory_mb": 2_304,
        "storage_mb": 10_240,
        "image": "debian-12",
        "image_digest": None,
        "image_mb": 0,
        "transfer_seconds": 0.0,
        "network": None,
        "pool": None,
        "arch": None,
        "host": None,
        "host_selector": {"zone": "a"},
        "anti_affinity_group": None,
        "tried": [],
    }
    score = pytest.approx(1 - 2_304 / 16_384)
    assert decision.chosen == (
        {"host_id": "HST-a", "host_name": "a", "score": score, "transfer_seconds": None},
        {"host_id": "HST-b", "host_name": "b", "score": score, "transfer_seconds": None},
    )
    assert decision.refusals == {"state": 1, "cpu": 1}
    assert decision.nearest[0] == {
        "host_id": "HST-c",
        "host_name": "c",
        "filter": "cpu",
        "have": 1,
        "need": 2,
        "message": "c: cpu 1 in all < 2 wanted",
    }
    assert [each["host_name"] for each in decision.hosts] == ["c", "d"]


def test_a_refused_decision_names_no_host() -> None:
    choice = choose(demand(), Fleet.of([host(limit_cpus=1)]), Policy.PACK, now=NOW)

    decision = decision_of(choice, id="DEC-1", sandbox_id=None, at=NOW)

    assert (decision.outcome, decision.policy) == ("constraint_impossible", "pack")
    assert (decision.host_id, decision.host_name, decision.chosen) == (None, None, ())
