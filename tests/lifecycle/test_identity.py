"""A host is its UUID: what must not be believed of a machine that answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.lifecycle.identity import identity_fault
from scheduler.model import HostResources
from tests.lifecycle.samples import host, listing

SEEN = listing()


@pytest.mark.parametrize(
    ("known", "others"),
    [
        (host(), []),
        (host(host_uuid="host"), []),
        (host(), [host(id="HST-2", host_uuid="other"), host(id="HST-3")]),
        (host(host_uuid="host"), [host(host_uuid="host")]),
    ],
    ids=["first sight", "the same again", "others differ", "itself among the others"],
)
def test_a_known_machine_is_believed(known: HostResources, others: list[HostResources]) -> None:
    assert identity_fault(known, SEEN, others) is None


def test_a_machine_without_a_uuid_is_refused_with_a_remedy() -> None:
    fault = identity_fault(host(), replace(SEEN, host_uuid=None), [])
    assert fault is not None
    assert "libvirtd.conf" in fault


def test_another_machine_at_the_address_is_refused() -> None:
    fault = identity_fault(host(host_uuid="before"), SEEN, [])
    assert (
        fault == "host alpha was before and now says host: another machine answers at its address"
    )


def test_the_second_record_of_one_machine_is_refused() -> None:
    fault = identity_fault(host(), SEEN, [host(id="HST-2", name="beta", host_uuid="host")])
    assert fault == "host alpha is the same machine as beta (host)"
