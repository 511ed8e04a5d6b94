"""A whole Debian with systemd and cloud-init, from its first boot to a change set that was proven.

One test, because a boot under emulation takes minutes: each step starts from what the ones before
it left. The image's clones have a machine id in common, as those of a careless image have.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.debian_image import MEMORY_MIB, debian_image
from tests.fleet.fleet import Fleet
from tests.fleet.python_image import OFFERED, OFFERED_VERSION
from tests.proof.changing import JOB, Bench
from tests.proof.commanding import Commanding
from tests.proof.daemon import running
from tests.proof.test_commands import SCRIPT, STUBBORN
from tests.proof.test_main_job import Story, configuration

pytestmark = [
    *(pytest.mark.fleet, pytest.mark.slow, pytest.mark.debian),
    pytest.mark.timeout(7200),
]

IMAGE = "debian.qcow2"
BOX = "box"
MANY_S = 1800
SETTINGS = f"""
[lifecycle]
provision_timeout_seconds = {MANY_S}
poll_seconds = 2
[changes]
manifest_seconds = 600
"""
WRITTEN = "/srv/written"
USER_DATA = f"""\
#cloud-config
users: [default, {{name: ana, shell: /bin/sh}}]
write_files:
- {{path: {WRITTEN}, content: "grüße\\n", permissions: "0640"}}
runcmd:
- [sh, -c, "id -un >/srv/ran"]
"""
WORKER = "/etc/systemd/system/worker.service"
CHANGE = f"""
set -e
apt-get update -q && apt-get install -y -q {OFFERED}
systemctl enable --now asleep
systemctl disable --now awake
systemctl mask --now doomed
systemctl stop cron
systemctl disable ssh
cp /usr/lib/systemd/system/asleep.service {WORKER}
systemctl daemon-reload
systemctl enable --now worker
echo changed >/etc/motd
rm /etc/issue.net
mkdir /opt/own
echo kept >/opt/own/file
chown 33:33 /opt/own/file
"""
AGENT = "qemu-guest-agent"
SIGNAL = ("systemctl", "kill", "--signal")
SERVICES = [
    {"name": "asleep", "enabled": True, "state": "started"},
    {"name": "awake", "enabled": False, "state": "stopped"},
    {"name": "cron", "enabled": None, "state": "stopped"},
    {"name": "doomed", "enabled": False, "state": "stopped"},
    {"name": "ssh", "enabled": False, "state": ""},
    {"name": "worker", "enabled": True, "state": "started"},
]
"""What a diff tells of them: what is enabled now if that changed, and what runs."""
ADDED = {WORKER, "/etc/systemd/system/doomed.service", "/opt/own", "/opt/own/file"}
REMOVED = {"/etc/issue.net", "/etc/systemd/system/sshd.service"}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commanding]:
    with Fleet.make(1) as fleet:
        yield from opened(fleet, tmp_path_factory.mktemp("debian"))


def opened(fleet: Fleet, directory: Path) -> Iterator[Commanding]:
    fleet["h1"].offer(debian_image(), IMAGE)
    text = configuration(fleet).replace("[lifecycle]\npoll_seconds = 2\n", SETTINGS)
    with running(directory, text) as daemon:
        story = Story(fleet, daemon)
        story.hosts_come_up()
        yield Commanding(fleet, daemon, story)


def test_a_whole_debian(box: Commanding) -> None:
    boots_as_its_user_data_says(box)
    takes_commands_of_each_kind(box)
    is_frozen_all_the_same_when_its_agent_is_deaf(box)
    is_held_still(box, "before")
    is_changed(box)
    is_held_still(box, "after")
    id = differs_by_what_was_done(box)
    is_proven_on_a_clone(box, id)
    clones_have_leases_of_their_own(box)


def boots_as_its_user_data_says(box: Commanding) -> None:
    size = {"vcpus": 1, "memory_mb": MEMORY_MIB, "storage_mb": 1536}
    what = {"base_image": IMAGE, "user_data": USER_DATA, "job_id": JOB, "ready": "ssh"}
    box.story.create(BOX, **size, **what)
    box.daemon.wait_for(BOX, seconds=MANY_S, state="RUNNING")
    waited = box.exec("--timeout", "30m", BOX, "cloud-init", "status", "--wait", "--long")
    assert waited.returncode == 0, waited
    told = box.exec(BOX, "sh", "-c", f"cat {WRITTEN} /srv/ran; stat -c %a {WRITTEN}; id -un ana")
    assert told.stdout.decode().split() == ["grüße", "root", "640", "ana"]
    keys = box.exec(BOX, "cat", "/home/debian/.ssh/authorized_keys").stdout.decode()
    assert box.fleet.access.public_key in keys
    signed = box.exec(BOX, "ssh-keygen", "-L", "-f", "/etc/ssh/sandboxd_host_key-cert.pub")
    assert box.daemon.sandbox(BOX)["id"] in signed.stdout.decode()


def takes_commands_of_each_kind(box: Commanding) -> None:
    every = bytes(range(256)) * 2_700
    assert box.exec("-i", BOX, "cat", stdin=every).stdout == every
    ran = box.exec("--script", "-", "--env", "NAME=a b'c", "--cwd", "/proc", BOX, stdin=SCRIPT)
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, b"/bin/sh|a b'c|/proc|", b"\0\xff")
    other = box.exec("--user", "ana", "--cwd", "/proc", BOX, "sh", "-c", "id -un; pwd")
    assert other.stdout == b"ana\n/proc\n"
    hung = box.exec("--timeout", "5s", BOX, "sh", "-c", STUBBORN)
    assert (hung.returncode, hung.stdout) == (124, b"up\n")
    record = box.newest(BOX)
    assert (record["status"], record["kill_unconfirmed"]) == ("TIMED_OUT", False)
    assert not box.running_of(BOX, record["id"])


def is_frozen_all_the_same_when_its_agent_is_deaf(box: Commanding) -> None:
    """An agent that stopped is still connected: it is waited for, and then done without."""
    assert box.exec(BOX, *SIGNAL, "STOP", AGENT).returncode == 0
    made = bench_of(box).told("snapshot", "create", BOX, "deaf", "--external", "--no-manifest")
    assert (made["state"], made["quiesced"], bool(made["manifest_ref"])) == ("READY", False, False)
    assert box.exec(BOX, *SIGNAL, "CONT", AGENT).returncode == 0


def is_held_still(box: Commanding, name: str) -> None:
    """QEMU's own agent holds the file systems for the moment in which the disk is frozen."""
    made = bench_of(box).told("snapshot", "create", BOX, name, "--external")
    assert (made["state"], made["quiesced"], bool(made["manifest_ref"])) == ("READY", True, True)


def is_changed(box: Commanding) -> None:
    ran = box.exec("--script", "-", "--timeout", "30m", BOX, stdin=CHANGE.encode())
    assert ran.returncode == 0, ran


def differs_by_what_was_done(box: Commanding) -> str:
    diff = bench_of(box).told("diff", BOX, "before", "after")
    told = diff["diff_json"]
    assert told["services_changed"] == SERVICES
    assert set(told["files_added"]) == ADDED
    assert set(told["files_modified"]) == {"/etc/motd"}
    assert set(told["files_removed"]) == REMOVED
    assert told["packages_added"] == [{"name": OFFERED, "version": OFFERED_VERSION}]
    return str(diff["id"])


def is_proven_on_a_clone(box: Commanding, diff: str) -> None:
    bench = bench_of(box)
    made = bench.told("changeset", "create", diff, "--name", "whole_debian")
    bench.told("changeset", "verify", made["id"])
    proven = bench.change_set(made["id"])
    verification = proven["verification"]
    assert (verification["result"], verification["remaining"]) == ("PASSED", []), verification
    assert {one["result"] for one in proven["checks"]} == {"passed"}, proven["checks"]


def clones_have_leases_of_their_own(box: Commanding) -> None:
    """Each asked as the card it has, not as the machine that its image remembers."""
    told = box.fleet["h1"].virsh("net-dhcp-leases", "default")
    leases = [line.split() for line in told.splitlines() if line.strip()]
    assert len(leases) >= 2, told
    assert len({lease[4] for lease in leases}) == len(leases), told
    assert all(lease[-1] == f"01:{lease[2]}" for lease in leases), told


def bench_of(box: Commanding) -> Bench:
    return Bench(box.fleet, box.daemon)
