"""Each fault of a host is found, told, and comes with the command that mends it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scheduler.diagnosis.checks import Check, Verdict
from scheduler.diagnosis.facts import FileFacts, HostFacts, SshFacts
from scheduler.diagnosis.hosts import check_host
from scheduler.model import Breaker, HostHealth, Transport, VirtType
from tests.diagnosis.samples import (
    FACTS,
    INVENTORY,
    KEY,
    KNOWN_HOSTS,
    NOW,
    POOL,
    SSH,
    UUID,
)

ALL = [
    "ssh key",
    "known hosts",
    "reach",
    "identity",
    "kvm",
    "pool",
    "pool space",
    "network",
    "versions",
    "builds",
]
ON_ALPHA = [
    "ssh",
    "-p",
    "2222",
    "-i",
    "/etc/sandboxd/a key",
    "-o",
    "UserKnownHostsFile=/etc/sandboxd/known_hosts",
    "virt@192.0.2.9",
]
OTHER = "00000000-0000-4000-8000-000000000001"


def examined(facts: HostFacts = FACTS, **host: Any) -> dict[str, Check]:
    wanted = replace(facts, host=replace(facts.host, **host))
    return {check.name: check for check in check_host(wanted, NOW)}


def seen(**fields: Any) -> HostFacts:
    return replace(FACTS, inventory=replace(INVENTORY, **fields))


def remote(check: Check) -> str:
    """Return what a remedy runs on the host, having proven that it runs there."""
    words = shlex.split(check.remedy or "")
    assert words[:-1] == ON_ALPHA
    return words[-1]


def test_a_host_without_fault_passes_every_check() -> None:
    checks = examined()
    assert list(checks) == ALL
    assert {check.verdict for check in checks.values()} == {Verdict.OK}
    assert {check.remedy for check in checks.values()} == {None}
    assert {check.subject for check in checks.values()} == {"alpha"}


def test_a_host_that_needs_no_ssh_is_not_judged_by_it() -> None:
    assert list(examined(replace(FACTS, ssh=None))) == ALL[2:]


@pytest.mark.parametrize(
    ("key", "verdict", "remedy"),
    [
        (
            FileFacts(path="/k e", fault="No such file or directory", missing=True),
            Verdict.FAILED,
            "ssh-keygen -t ed25519 -N '' -f '/k e'",
        ),
        (
            FileFacts(path="/k e", fault="the daemon may not read it", mode=0o600),
            Verdict.FAILED,
            "chown sandboxd: '/k e' && chmod 600 '/k e'",
        ),
        (FileFacts(path="/k e", mode=0o640), Verdict.WARNING, "chmod 600 '/k e'"),
    ],
)
def test_a_key_that_cannot_serve_is_found(key: FileFacts, verdict: Verdict, remedy: str) -> None:
    check = examined(replace(FACTS, ssh=replace(SSH, key=key)))["ssh key"]
    assert (check.verdict, check.remedy) == (verdict, remedy)
    assert "/k e" in check.message


@pytest.mark.parametrize(
    "ssh",
    [
        SshFacts(key=KEY, known_hosts=KNOWN_HOSTS, trusts_host=False),
        SshFacts(
            key=KEY, known_hosts=replace(KNOWN_HOSTS, fault="Permission denied"), trusts_host=False
        ),
    ],
)
def test_a_host_that_is_not_known_is_scanned_and_compared(ssh: SshFacts) -> None:
    check = examined(replace(FACTS, ssh=ssh))["known hosts"]
    assert check.verdict is Verdict.FAILED
    assert check.remedy == "ssh-keyscan -p 2222 192.0.2.9 >> /etc/sandboxd/known_hosts"
    assert (ssh.known_hosts.fault or "no key for 192.0.2.9 port 2222") in check.message
    assert "fingerprint" in check.message


def test_a_host_that_was_never_looked_at_is_not_judged() -> None:
    check = examined(health=HostHealth.UNKNOWN)["reach"]
    assert check.verdict is Verdict.UNKNOWN
    refused = examined(health=HostHealth.UNKNOWN, health_reason="it tells no UUID")["reach"]
    assert refused.verdict is Verdict.WARNING
    assert "tells no UUID" in refused.message


@pytest.mark.parametrize(
    ("health", "verdict"),
    [(HostHealth.SUSPECT, Verdict.WARNING), (HostHealth.DOWN, Verdict.FAILED)],
)
def test_a_host_that_does_not_answer_is_logged_in_to(health: HostHealth, verdict: Verdict) -> None:
    check = examined(health=health, health_reason="no route to host")["reach"]
    assert (check.verdict, check.message) == (verdict, f"{health}: no route to host")
    assert remote(check) == "systemctl restart libvirtd && virsh -c qemu:///system version"


def test_commands_for_a_local_host_run_here() -> None:
    local: dict[str, Any] = {"transport": Transport.UNIX, "uri": "qemu:///system?socket=/run/a b"}
    check = examined(health=HostHealth.DOWN, **local)["reach"]
    assert check.message == "DOWN: its polls do not all succeed"
    assert check.remedy == (
        "systemctl restart libvirtd && virsh -c 'qemu:///system?socket=/run/a b' version"
    )
    check = examined(health=HostHealth.DOWN, transport=Transport.TEST)["reach"]
    assert check.remedy == "sandboxctl host show alpha"
    check = examined(health=HostHealth.DOWN, ssh_user=None)["reach"]
    assert shlex.split(check.remedy or "")[-2] == "192.0.2.9"


def test_commands_for_a_host_over_tls_run_there_all_the_same() -> None:
    check = examined(
        health=HostHealth.DOWN,
        transport=Transport.TLS,
        ssh_key=None,
        ssh_known_hosts=None,
        ssh_port=22,
    )["reach"]
    *ssh, script = shlex.split(check.remedy or "")
    assert ssh == ["ssh", "-p", "22", "virt@192.0.2.9"]
    assert script.startswith("systemctl restart libvirtd && ")


def test_another_machine_at_the_address_is_shown_with_both_uuids() -> None:
    check = examined(refused_host_uuid=OTHER)["identity"]
    assert check.verdict is Verdict.FAILED
    assert UUID in check.message
    assert check.remedy == f"sandboxctl host accept-identity alpha --uuid {OTHER}"
    assert examined(host_uuid=None)["identity"].verdict is Verdict.UNKNOWN


def test_what_an_old_look_said_is_not_repeated() -> None:
    away = replace(FACTS, inventory=None)
    for checks in (examined(away), examined(observed_at=NOW - timedelta(minutes=5))):
        assert {checks[name].verdict for name in ALL[4:9]} == {Verdict.UNKNOWN}


@pytest.mark.parametrize(
    ("configured", "found", "verdict"),
    [
        (VirtType.AUTO, VirtType.KVM, Verdict.OK),
        (VirtType.AUTO, VirtType.QEMU, Verdict.WARNING),
        (VirtType.QEMU, VirtType.QEMU, Verdict.OK),
        (VirtType.KVM, VirtType.KVM, Verdict.OK),
        (VirtType.AUTO, VirtType.TEST, Verdict.OK),
    ],
)
def test_emulation_that_nobody_asked_for_is_found(
    configured: VirtType, found: VirtType, verdict: Verdict
) -> None:
    check = examined(seen(virt_type=found), virt_type=configured)["kvm"]
    assert check.verdict is verdict
    if verdict is Verdict.WARNING:
        assert "modprobe" in remote(check)


def test_a_pool_that_is_missing_is_made_and_an_inactive_one_started() -> None:
    start = "virsh -c qemu:///system pool-start default"
    autostart = "virsh -c qemu:///system pool-autostart default"
    check = examined(seen(pool=replace(POOL, active=False)))["pool"]
    assert (check.verdict, remote(check)) == (Verdict.FAILED, f"{start} && {autostart}")
    check = examined(seen(pool=None))["pool"]
    assert check.verdict is Verdict.FAILED
    assert remote(check).startswith("virsh -c qemu:///system pool-define-as default dir --target")
    assert remote(check).endswith(f"{start} && {autostart}")
    assert examined(seen(pool=None))["pool space"].verdict is Verdict.UNKNOWN


def test_a_pool_that_fills_is_found_before_guests_are_paused() -> None:
    check = examined(seen(pool=replace(POOL, available=140)))["pool space"]
    assert (check.verdict, check.message) == (Verdict.WARNING, "14% of default are left")
    assert remote(check) == "virsh -c qemu:///system vol-list --details default"
    check = examined(seen(pool=replace(POOL, available=40)))["pool space"]
    assert check.verdict is Verdict.FAILED


def test_a_network_is_started_replaced_or_defined() -> None:
    check = examined(seen(networks={"default": False}))["network"]
    assert check.verdict is Verdict.FAILED
    assert remote(check) == (
        "virsh -c qemu:///system net-start default && virsh -c qemu:///system net-autostart default"
    )
    check = examined(seen(networks={"lab": True, "dmz": True, "off": False}))["network"]
    assert check.message == "there is no network default; active: dmz, lab"
    assert check.remedy == "sandboxctl host edit alpha --network dmz"
    check = examined(seen(networks={}))["network"]
    assert remote(check) == "virsh -c qemu:///system net-define default.xml"


def test_versions_older_than_proven_ones_are_told() -> None:
    old = seen(libvirt_version="8.10.0", hypervisor_version="7.2.0")
    check = examined(old)["versions"]
    assert check.verdict is Verdict.WARNING
    assert check.message == (
        "libvirt 8.10.0, QEMU 7.2.0: older than libvirt 9.0, the oldest this was proven on"
    )
    assert examined(seen(libvirt_version="10.0.0", hypervisor_version=None))[
        "versions"
    ].verdict is (Verdict.OK)


def test_builds_that_are_kept_off_are_told_while_they_are() -> None:
    breaker = Breaker(
        image=None,
        reason="build_failed",
        since=NOW - timedelta(minutes=1),
        retry_at=NOW + timedelta(minutes=1),
    )
    check = examined(breakers=(breaker,))["builds"]
    assert check.verdict is Verdict.WARNING
    assert check.message == "kept off after failures: everything (build_failed)"
    assert check.remedy == "sandboxctl host show alpha"
    over = replace(breaker, image="a.qcow2", retry_at=NOW)
    assert examined(breakers=(over,))["builds"].verdict is Verdict.OK
