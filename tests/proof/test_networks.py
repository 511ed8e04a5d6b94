"""Two networks of a real host under a running daemon: who may join which, and who reaches whom.

One host, one daemon and three guests for the module: two isolated ones and one that is not.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from scheduler.cli.failures import Failure
from tests.fleet.fleet import Fleet
from tests.fleet.process import wait_until
from tests.proof.daemon import running
from tests.proof.test_main_job import Story, configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.proof.daemon import Document

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]

LAB = """
<network><name>lab</name><forward mode='nat'/><bridge name='virbr-lab' stp='off' delay='0'/>
<ip address='192.168.150.1' netmask='255.255.255.0'>
<dhcp><range start='192.168.150.10' end='192.168.150.90'/></dhcp></ip></network>
"""
HIDDEN = LAB.replace("lab", "mgmt").replace("192.168.150", "192.168.151")
SCRIPT = "#!/bin/sh\necho 'grüße'\n"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with Fleet.make(1) as fleet:
        for name, xml in (("lab", LAB), ("mgmt", HIDDEN)):
            fleet["h1"].file(f"/run/{name}.xml").write_text(xml)
            fleet["h1"].virsh("net-define", f"/run/{name}.xml")
            fleet["h1"].virsh("net-start", name)
        text = configuration(fleet) + '\nnetworks = ["lab"]'
        with running(tmp_path_factory.mktemp("networks"), text) as daemon:
            story = Story(fleet, daemon)
            story.hosts_come_up()
            yield story


@pytest.fixture(scope="module")
def guests(story: Story) -> dict[str, Document]:
    """Guests that run, by name, brought up side by side."""
    wanted: dict[str, dict[str, object]] = {
        "apart-1": {"network": "lab", "isolation": True, "user_data": SCRIPT},
        "apart-2": {"network": "lab", "isolation": True},
        "plain": {"network": "lab"},
    }
    for name, fields in wanted.items():
        story.create(name, **fields)
    return {name: story.daemon.wait_for(name, state="RUNNING") for name in wanted}


def reaches(story: Story, guest: Document, address: str) -> bool:
    """Return whether a guest gets an answer from an address."""
    asked = f"ping -c 1 -W 3 {address} >/dev/null && echo yes || echo no"
    return story.in_guest(story.fleet["h1"], guest["ip_address"], asked).strip() == "yes"


def comes_to_reach(story: Story, guest: Document, address: str) -> None:
    """Wait for an answer: who is emulated on a busy machine may miss a ping's three seconds."""
    wait_until(lambda: reaches(story, guest, address), what=f"a ping to {address}", limit_s=180)


def test_a_guest_gets_its_address_from_the_network_it_asked_for(
    story: Story, guests: dict[str, Document]
) -> None:
    for name, guest in guests.items():
        assert ip_address(guest["ip_address"]) in ip_network("192.168.150.0/24")
        story.is_usable(name)


def test_isolated_guests_reach_the_host_and_never_each_other(
    story: Story, guests: dict[str, Document]
) -> None:
    one, two, plain = guests["apart-1"], guests["apart-2"], guests["plain"]
    assert (one["isolation"], plain["isolation"]) == (True, False)
    for guest in (one, two):
        comes_to_reach(story, guest, "192.168.150.1")
    assert not reaches(story, one, two["ip_address"])
    assert not reaches(story, two, one["ip_address"])
    comes_to_reach(story, one, plain["ip_address"])
    xml = story.fleet["h1"].virsh("dumpxml", "apart-1")
    assert "<port isolated='yes'/>" in xml
    assert "clean-traffic" in xml


def test_a_network_that_is_there_but_not_offered_is_refused(story: Story) -> None:
    wait_until(
        lambda: "mgmt" in story.daemon.host("h1")["observed_networks"], what="the hidden network"
    )
    with pytest.raises(Failure, match="network mgmt is not offered"):
        story.create("sneaky", network="mgmt")


def test_user_data_is_told_by_its_length_only(story: Story, guests: dict[str, Document]) -> None:
    found = story.daemon.sandbox("apart-1")
    assert found["user_data_bytes"] == len(SCRIPT.encode())
    assert "user_data" not in found
    assert "grüße" not in str(story.daemon.api.get("/v1/sandboxes"))
