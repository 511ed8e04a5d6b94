"""The small image boots as a linked clone, is reached through its host, and goes down both ways."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.fleet.guest import Guest
from tests.fleet.process import ProcessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fleet.fleet import Fleet

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]


@pytest.fixture
def guests(fleet: Fleet) -> Iterator[list[Guest]]:
    """A running guest on each of two hosts."""
    made = [Guest(host, f"by-hand-{host.name}", fleet.access) for host in fleet]
    try:
        for guest in made:
            guest.define()
            guest.start()
        yield made
    finally:
        for guest in made:
            guest.remove()


def test_a_guests_life(guests: list[Guest]) -> None:
    for guest in guests:
        address = guest.wait_for_ssh()
        assert guest.run("hostname").strip() == guest.name
        assert address in guest.run("ip", "-4", "address", "show", "eth0")
        guest.run("echo kept >/root/file")
    pressed, told = guests
    host_key = pressed.run("cat", "/etc/ssh/ssh_host_ed25519_key.pub")

    pressed.host.virsh("shutdown", pressed.name)
    pressed.wait_until_shut_off()
    # What a guest that is killed soon after its first boot finds at its second.
    # The connection may be gone before the command is, and nobody be left to say so.
    with suppress(ProcessError, subprocess.TimeoutExpired):
        told.run(": >/etc/ssh/ssh_host_ed25519_key; poweroff", limit_s=30)
    told.wait_until_shut_off()

    pressed.start()
    told.start()
    pressed.wait_for_ssh()
    told.wait_for_ssh()
    assert pressed.run("cat", "/root/file", "/etc/ssh/ssh_host_ed25519_key.pub") == (
        f"kept\n{host_key}"
    )


def test_a_guest_outlives_libvirtd_but_not_its_hosts_power(
    make_fleet: Callable[[int], Fleet],
) -> None:
    fleet = make_fleet(1)
    (host,) = fleet
    guest = Guest(host, "by-hand", fleet.access)
    guest.define()
    guest.start()
    host.stop_libvirtd("KILL")
    host.start_libvirtd()
    assert guest.state() == "running"
    guest.wait_for_ssh()
    host.power_cycle()
    assert guest.state() == "shut off"


def test_a_suspended_guest_stays_listed_and_does_not_answer(
    make_fleet: Callable[[int], Fleet],
) -> None:
    fleet = make_fleet(1)
    (host,) = fleet
    guest = Guest(host, "by-hand", fleet.access)
    guest.define()
    guest.start()
    host.suspend_guest(guest.name)
    assert host.virsh("list", "--name").split() == [guest.name]
    with pytest.raises(subprocess.TimeoutExpired):
        host.virsh("qemu-monitor-command", guest.name, "--hmp", "info status", limit_s=1)
    host.resume_guest(guest.name)
    guest.wait_for_ssh()
