"""Presence is proven by the mark, absence by two listings; the rest is unknown (I5, I6)."""

from __future__ import annotations

import pytest

from scheduler.lifecycle.sightings import (
    Absent,
    Doubt,
    Present,
    Unknown,
    sight,
    transient,
    witness,
)
from scheduler.model import DomainState, Inventory, Mark, StateReason
from tests.lifecycle.samples import UUID, domain, listing, mark, sandbox

OURS = domain(marked=mark())
OTHER = domain(uuid="5e3c4b6e-0000-5000-8000-000000000009")


def test_a_marked_domain_in_a_fresh_listing_is_present() -> None:
    seen = sight(sandbox(), listing(OTHER, OURS, begun_at=10), None, mutated_at=9)
    assert seen == Present(domain=OURS)


def test_absence_takes_two_listings() -> None:
    now, before = listing(OTHER, begun_at=20), listing(begun_at=10)
    assert sight(sandbox(), now, before, mutated_at=None) == Absent()
    assert sight(sandbox(), now, before, mutated_at=9) == Absent()


@pytest.mark.parametrize(
    "previous",
    [
        None,
        listing(begun_at=20),
        listing(begun_at=30),
        listing(OURS, begun_at=10),
        listing(begun_at=10, host_id="HST-2"),
    ],
    ids=["none", "the same", "newer", "it was there", "another host"],
)
def test_one_listing_alone_proves_no_absence(previous: Inventory | None) -> None:
    seen = sight(sandbox(), listing(begun_at=20), previous, mutated_at=None)
    assert isinstance(seen, Unknown)
    assert seen.doubt is Doubt.NOT_OBSERVED
    assert "second" in seen.reason


def test_a_listing_begun_before_our_last_call_ended_tells_nothing() -> None:
    for inventory in (listing(OURS, begun_at=10), listing(begun_at=10)):
        seen = sight(sandbox(), inventory, listing(begun_at=5), mutated_at=10)
        assert isinstance(seen, Unknown)
        assert "last call" in seen.reason


def test_the_earlier_listing_must_be_newer_than_our_last_call_too() -> None:
    seen = sight(sandbox(), listing(begun_at=20), listing(begun_at=10), mutated_at=10)
    assert isinstance(seen, Unknown)


def test_a_listing_of_another_host_tells_nothing() -> None:
    elsewhere = listing(OURS, host_id="HST-2")
    assert isinstance(sight(sandbox(), elsewhere, None, mutated_at=None), Unknown)


def test_without_a_listing_nothing_is_known() -> None:
    seen = sight(sandbox(), None, None, mutated_at=None)
    assert seen == Unknown(reason="host alpha has not been listed completely yet")


def test_a_silent_host_says_nothing_even_with_old_listings() -> None:
    seen = sight(sandbox(), listing(OURS), None, mutated_at=None, unreachable="no route")
    assert seen == Unknown(
        reason="host alpha does not answer: no route", doubt=Doubt.HOST_UNREACHABLE
    )


@pytest.mark.parametrize("marked", [None, mark("SBX-2")], ids=["unmarked", "of another sandbox"])
def test_a_domain_with_our_uuid_without_our_mark_is_foreign(marked: Mark | None) -> None:
    seen = sight(sandbox(), listing(domain(marked=marked)), None, mutated_at=None)
    assert isinstance(seen, Unknown)
    assert seen.doubt is Doubt.FOREIGN_DOMAIN
    assert witness(sandbox(), domain(marked=marked)) == seen
    assert UUID not in seen.reason


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        (DomainState.PAUSED, StateReason.TRANSIENT, True),
        (DomainState.PAUSED, StateReason.USER, False),
        (DomainState.UNKNOWN, StateReason.OTHER, True),
        (DomainState.RUNNING, StateReason.TRANSIENT, False),
    ],
)
def test_passing_states_are_recognised(
    state: DomainState, reason: StateReason, expected: bool
) -> None:
    assert transient(domain(state, reason)) is expected
