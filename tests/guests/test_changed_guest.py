"""A real guest is changed in every way we can think of, and the diff is that and nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncssh
import pytest

from scheduler.changes.delta import NEVER_TOLD, delta
from scheduler.changes.noise import DEFAULT_NOISE
from scheduler.changes.summary import change_diff
from scheduler.changes.unified import texts
from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.guests.manifests import Manifests, limits_of
from scheduler.model import ChangeDiff, FileChange, Omission, PackageInfo
from tests.fleet.fleet import Fleet
from tests.fleet.guest import Guest
from tests.fleet.python_image import MEMORY_MIB

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]

BEFORE = r"""
set -e
mkdir -p /srv/site
echo goes >/srv/site/gone
echo one >/srv/site/text
echo same >/srv/site/mode
ln -s text /srv/site/link
"""
CHANGE = r"""
set -e
mkdir -p /tmp/p/DEBIAN /tmp/p/etc /tmp/p/opt/probe
cat >/tmp/p/DEBIAN/control <<'END'
Package: sandboxd-probe
Version: 1.0
Architecture: all
Maintainer: x <x@x>
Description: x
END
printf '/etc/probe.conf\n/etc/probe-edited.conf\n' >/tmp/p/DEBIAN/conffiles
echo brought >/tmp/p/etc/probe.conf
echo brought >/tmp/p/etc/probe-edited.conf
echo tool >/tmp/p/opt/probe/tool
dpkg-deb --build --root-owner-group /tmp/p /tmp/p.deb >/dev/null
dpkg -i /tmp/p.deb >/dev/null
echo edited >>/etc/probe-edited.conf
rm /srv/site/gone
echo two >>/srv/site/text
chown 33:33 /srv/site/mode
chmod 4711 /srv/site/mode
ln -sfn nowhere /srv/site/link
mkdir -m 700 /opt/own
printf 'x' >"/opt/own/a name with
a line and 'quotes' {{ braces }}"
python3 -c 'import os; open(b"/opt/own/\xff", "w")'
mkfifo /opt/own/pipe
echo noise >>/var/log/noise
echo noise >/etc/machine-id
echo noise >>/root/.bash_history
"""
ODD = "/opt/own/a name with\na line and 'quotes' {{ braces }}"


@pytest.fixture(scope="module")
def guest(fleet: Fleet, python_guest_image: Path) -> Iterator[Guest]:
    """A running guest with dpkg."""
    fleet["h1"].offer(python_guest_image, "small-python.qcow2")
    made = Guest(fleet["h1"], "changed", fleet.access)
    try:
        made.define(base="small-python.qcow2", memory_mib=MEMORY_MIB)
        made.start()
        made.wait_for_ssh()
        yield made
    finally:
        made.remove()


@pytest.fixture
async def connection(fleet: Fleet, guest: Guest) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection to the guest, as root, through its host."""
    address = guest.leased_address()
    assert address is not None
    keys = {"client_keys": [str(fleet.access.key)], "config": None, "agent_path": None}
    async with (
        asyncssh.connect(
            guest.host.address,
            username="root",
            known_hosts=str(fleet.access.known_hosts),
            **keys,
        ) as host,
        # This guest's key is its own, made at its first boot.
        asyncssh.connect(address, username="root", known_hosts=None, tunnel=host, **keys) as made,
    ):
        yield made


async def test_the_diff_is_what_was_done_and_nothing_more(
    connection: asyncssh.SSHClientConnection, tmp_path: Path
) -> None:
    limits = limits_of(Settings.model_validate({}))
    async with Manifests.open(tmp_path, SystemClock(), limits) as manifests:
        await connection.run("exec sh -s", input=BEFORE, check=True)
        before = await manifests.get(await manifests.take(connection))
        await connection.run("exec sh -s", input=CHANGE, check=True)
        after = await manifests.get(await manifests.take(connection))
        found = delta(before, after, DEFAULT_NOISE)
        shown = {one.path: one.text for one in texts(found, manifests.contents.get)}
    assert (before.package_manager, before.system["ID"]) == ("dpkg", "debian")
    assert change_diff(found) == ChangeDiff(
        files_added=("/etc/probe-edited.conf", "/opt/own", r"/opt/own/\xff", ODD, "/opt/own/pipe"),
        files_modified=("/srv/site/link", "/srv/site/mode", "/srv/site/text"),
        files_removed=("/srv/site/gone",),
        packages_added=(PackageInfo(name="sandboxd-probe", version="1.0"),),
    )
    by_path = {one.path: one for one in found.files}
    brought = [one.path for one in found.files if one.package == "sandboxd-probe"]
    assert brought == ["/etc/probe.conf", "/opt/probe", "/opt/probe/tool"]
    check_details(by_path)
    assert found.unknown == (Omission(path="/", reason=NEVER_TOLD["service"]),), "it has busybox's"
    assert {"/etc/machine-id", "/root/.*_history"} <= {one.rule for one in found.ignored}
    assert str(shown["/srv/site/text"]).endswith(" one\n+two")


def check_details(by_path: dict[str, FileChange]) -> None:
    """Modes, owners and targets are what they were made."""
    mode, link = by_path["/srv/site/mode"], by_path["/srv/site/link"]
    assert mode.before is not None
    assert mode.after is not None
    assert (mode.before.mode, mode.before.owner) == (0o644, "root")
    assert (mode.after.mode, mode.after.owner, mode.after.group) == (
        0o4711,
        "www-data",
        "www-data",
    )
    assert link.after is not None
    assert link.after.target == "nowhere"
    made = by_path["/opt/own"].after
    assert made is not None
    assert made.mode == 0o700
