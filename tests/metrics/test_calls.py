"""Calls to hosts on the page: kinds for all together, sums for the hosts that are there."""

from __future__ import annotations

from contextlib import suppress

import pytest

from scheduler.errors import HostTimeout, HostUnreachable
from scheduler.hosts.calls import Calls, Fault
from scheduler.hosts.deadlines import Verb
from scheduler.metrics.calls import call_families
from tests.metrics.reading import Series, key, values
from tests.metrics.samples import host


@pytest.fixture
def calls() -> Calls:
    """One call that took long, one that passed its deadline, one that nobody could make."""
    made = Calls()
    alpha = made.of("HST-1")
    with alpha.counted(Verb.START) as spent:
        spent.seconds, spent.waited_seconds = 3.0, 0.05
    with suppress(HostTimeout), alpha.counted(Verb.INVENTORY) as spent:
        spent.seconds = 20.0
        raise HostTimeout("x")
    with suppress(HostUnreachable), made.of("HST-2").counted(Verb.OPEN) as spent:
        raise HostUnreachable("x")
    alpha.reconnected()
    alpha.heard()
    alpha.heard()
    return made


def told(calls: Calls, *names: str) -> Series:
    hosts = tuple(host(id=f"HST-{number}", name=name) for number, name in enumerate(names, 1))
    return values(call_families(calls, hosts))


def test_kinds_of_calls_are_told_for_all_hosts_together(calls: Calls) -> None:
    series = told(calls, "alpha", "beta")
    lasted = "libvirt_call_duration_seconds"
    assert series[key(f"{lasted}_count", call="start")] == 1
    assert series[key(f"{lasted}_sum", call="start")] == 3.0
    assert series[key(f"{lasted}_bucket", call="start", le="2.5")] == 0
    assert series[key(f"{lasted}_bucket", call="start", le="10.0")] == 1
    assert series[key(f"{lasted}_bucket", call="start", le="+Inf")] == 1
    assert series[key(f"{lasted}_count", call="open")] == 0
    errors = "libvirt_call_errors_total"
    assert series[key(errors, call="inventory", code="timeout")] == 1
    assert series[key(errors, call="open", code="lost")] == 1
    assert series[key(errors, call="start", code="lost")] == 0
    assert series[key("libvirt_call_wait_seconds_count")] == 3
    assert series[key("libvirt_call_wait_seconds_bucket", le="0.025")] == 2


def test_a_host_has_sums_of_its_own(calls: Calls) -> None:
    series = told(calls, "alpha", "beta")
    lasted = "host_libvirt_call_duration_seconds"
    for name, made, seconds in (("alpha", 2, 23.0), ("beta", 0, 0.0)):
        assert series[key(f"{lasted}_count", host=name)] == made
        assert series[key(f"{lasted}_sum", host=name)] == seconds
    assert series[key("host_libvirt_call_wait_seconds_total", host="alpha")] == 0.05
    assert series[key("host_libvirt_call_errors_total", host="alpha", code="timeout")] == 1
    assert series[key("host_libvirt_call_errors_total", host="beta", code="lost")] == 1
    assert series[key("host_reconnects_total", host="alpha")] == 1
    assert series[key("host_libvirt_events_total", host="alpha")] == 2


def test_a_host_that_was_not_asked_yet_starts_at_zero_and_one_that_left_has_nothing(
    calls: Calls,
) -> None:
    names = {dict(labels).get("host") for _, labels in told(calls, "alpha", "beta", "new")}
    assert names == {None, "alpha", "beta", "new"}
    assert {dict(labels).get("host") for _, labels in told(calls, "alpha")} == {None, "alpha"}
    fresh = told(calls, "alpha", "beta", "new")
    assert fresh[key("host_libvirt_call_duration_seconds_count", host="new")] == 0
    assert fresh[key("host_reconnects_total", host="new")] == 0


def test_a_host_adds_few_series_however_many_kinds_of_calls_there_are(calls: Calls) -> None:
    """There are a thousand hosts, and nearly all of them fail nobody."""
    one, two, three = (told(calls, *"abc"[:number]) for number in (1, 2, 3))
    assert len(two) - len(one) == 5 + len(Fault), "a call to it has failed"
    assert len(three) - len(two) == 5
