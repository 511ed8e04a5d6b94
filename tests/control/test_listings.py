"""Two listings a host, and nothing kept of what is gone."""

from __future__ import annotations

from math import inf

from scheduler.control.listings import Listings
from tests.clocks import ManualClock
from tests.lifecycle.samples import listing


def test_the_newest_and_the_one_before_are_kept() -> None:
    listings = Listings(ManualClock())
    first, second, third = (listing(begun_at=at) for at in (1.0, 2.0, 3.0))
    listings.put(first)
    assert (listings.latest("HST-1"), listings.previous("HST-1")) == (first, None)
    listings.put(second)
    listings.put(third)
    assert (listings.latest("HST-1"), listings.previous("HST-1")) == (third, second)
    listings.lost("HST-1")
    assert (listings.latest("HST-1"), listings.previous("HST-1")) == (None, None)
    listings.lost("HST-1")


def test_no_listing_counts_while_a_call_is_in_flight() -> None:
    clock = ManualClock()
    listings = Listings(clock)
    assert listings.mutated_at("SBX-1") is None
    with listings.mutating("SBX-1"):
        assert listings.mutated_at("SBX-1") == inf
        clock.advance(2)
    assert listings.mutated_at("SBX-1") == clock.monotonic()


def test_what_was_buried_within_its_own_call_leaves_nothing() -> None:
    listings = Listings(ManualClock())
    with listings.mutating("SBX-1"):
        listings.forget("SBX-1")
    assert len(listings) == 0
    listings.forget("SBX-1")
