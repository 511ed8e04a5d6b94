"""A real host comes up, is reached by SSH, hangs, loses its daemons and its power."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fleet.furniture import FOREIGN, FOREIGN_VOLUME, IMAGE, POOL, furnish_real
from tests.fleet.process import ProcessError, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fleet.fleet import Fleet

pytestmark = pytest.mark.fleet

VIRSH = "virsh -q -c qemu:///system"
IMPATIENT = ("-o", "ConnectTimeout=5")


def test_each_host_is_itself(fleet: Fleet) -> None:
    first, second = fleet
    assert {first.name, second.name} == {"h1", "h2"}
    for host in fleet:
        assert host.run("hostname").strip() == host.name
        assert f"<uuid>{host.host_uuid}</uuid>" in host.virsh("capabilities")
        assert host.virsh("net-list", "--name").split() == ["default"]
        assert "small.qcow2" in host.virsh("vol-list", "default")
    first.virsh("vol-create-as", "default", "mine", "1M")
    assert "mine" not in second.virsh("vol-list", "default")
    first.virsh("vol-delete", "mine", "--pool", "default")


def test_the_fleets_key_reaches_libvirt_by_ssh(fleet: Fleet) -> None:
    for host in fleet:
        argv = fleet.access.host_argv(host.address)
        assert run(*argv, f"hostname; {VIRSH} net-list --name").split() == [host.name, "default"]


def test_the_libvirt_socket_is_forwarded_to_the_control_node(fleet: Fleet) -> None:
    host = fleet["h1"]
    with fleet.access.forwarded_socket(host.address, host.libvirt_socket) as socket:
        uri = f"qemu+unix:///system?socket={socket}"
        assert run("virsh", "-q", "-c", uri, "hostname").strip() == host.name


def test_a_host_key_that_is_not_the_hosts_is_refused(fleet: Fleet) -> None:
    first, second = fleet
    alias = ("-o", f"HostKeyAlias={second.address}")
    with pytest.raises(ProcessError, match="Host key verification failed"):
        run(*fleet.access.host_argv(first.address, *alias), "true")


def test_the_machines_files_cannot_be_written_from_a_host(fleet: Fleet) -> None:
    with pytest.raises(ProcessError, match="Read-only file system"):
        fleet["h1"].run("touch", "/etc/passwd")


def test_a_suspended_libvirtd_hangs_and_a_restarted_one_is_the_same_host(
    make_fleet: Callable[[int], Fleet],
) -> None:
    (host,) = make_fleet(1)
    host.suspend_libvirtd()
    with pytest.raises(subprocess.TimeoutExpired):
        host.virsh("list", limit_s=1)
    host.resume_libvirtd()
    host.restart_libvirtd()
    assert f"<uuid>{host.host_uuid}</uuid>" in host.virsh("capabilities")


def test_a_host_without_sshd_refuses_until_it_is_back(make_fleet: Callable[[int], Fleet]) -> None:
    fleet = make_fleet(1)
    (host,) = fleet
    host.stop_sshd()
    with pytest.raises(ProcessError, match="Connection refused"):
        run(*fleet.access.host_argv(host.address), "true")
    host.start_sshd()
    run(*fleet.access.host_argv(host.address), "true")


def test_a_killed_sshd_refuses_until_it_is_back(make_fleet: Callable[[int], Fleet]) -> None:
    fleet = make_fleet(1)
    (host,) = fleet
    host.kill_sshd()
    with pytest.raises(ProcessError, match="Connection refused"):
        run(*fleet.access.host_argv(host.address), "true")
    host.start_sshd()
    run(*fleet.access.host_argv(host.address), "true")


def test_a_suspended_host_answers_nobody(make_fleet: Callable[[int], Fleet]) -> None:
    fleet = make_fleet(1)
    (host,) = fleet
    host.suspend()
    with pytest.raises(ProcessError, match="timed out"):
        run(*fleet.access.host_argv(host.address, *IMPATIENT), "true")
    host.resume()
    run(*fleet.access.host_argv(host.address), "true")


def test_files_survive_a_power_cycle_and_run_does_not(make_fleet: Callable[[int], Fleet]) -> None:
    (host,) = make_fleet(1)
    host.virsh("vol-create-as", "default", "kept", "1M")
    host.file("/run/lost").touch()
    host.power_cycle()
    assert "kept" in host.virsh("vol-list", "default")
    assert not host.file("/run/lost").exists()
    assert host.virsh("net-list", "--name").split() == ["default"]


def test_a_host_without_power_is_not_there(make_fleet: Callable[[int], Fleet]) -> None:
    fleet = make_fleet(1)
    (host,) = fleet
    host.power_off()
    with pytest.raises(ProcessError, match="powered off"):
        host.run("true")
    with pytest.raises(ProcessError, match=r"No route to host|timed out"):
        run(*fleet.access.host_argv(host.address, *IMPATIENT), "true")


def test_a_furnished_host_is_reached_past_its_namespaces_and_holds_what_is_not_ours(
    make_fleet: Callable[[int], Fleet],
) -> None:
    (host,) = make_fleet(1)
    furnish_real(host)
    argv = ("virsh", "-q", "-c", host.uri)
    assert run(*argv, "hostname").strip() == host.name
    volumes = run(*argv, "vol-list", POOL)
    assert (IMAGE in volumes, FOREIGN_VOLUME in volumes) == (True, True)
    assert run(*argv, "domstate", FOREIGN).strip() == "paused"
    assert Path(f"/proc/{host.pid_outside('libvirtd')}/comm").read_text().strip() == "libvirtd"
