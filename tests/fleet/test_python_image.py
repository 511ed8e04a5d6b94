"""The image where Ansible runs: it boots, has what Ansible needs, and dpkg works on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fleet.guest import Guest
from tests.fleet.python_image import MEMORY_MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fleet.fleet import Fleet

# One login: each takes seconds when the machine is busy.
ASKED = (
    "dpkg-query -W -f '${db:Status-Abbrev}\\n' openssh-server && dpkg --audit && echo audited"
    " && python3 -c 'import apt, json, zipfile; print(\"imported\")'"
)

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]


@pytest.fixture
def guest(fleet: Fleet, python_guest_image: Path) -> Iterator[Guest]:
    """A running guest of the image."""
    fleet["h1"].offer(python_guest_image, "small-python.qcow2")
    made = Guest(fleet["h1"], "with-python", fleet.access)
    try:
        made.define(base="small-python.qcow2", memory_mib=MEMORY_MIB)
        made.start()
        yield made
    finally:
        made.remove()


def test_it_has_what_ansible_needs(guest: Guest) -> None:
    guest.wait_for_ssh()
    assert guest.run(ASKED, limit_s=120).split() == ["ii", "audited", "imported"]
    guest.host.virsh("shutdown", guest.name)
    guest.wait_until_shut_off()
