"""Is a host fit to carry sandboxes? Judged by its record and by what was last seen there.

Nothing is asked of the host now: a check that would hang with it helps nobody. What an old look
said is not repeated as if it were still true.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from datetime import datetime

from scheduler.diagnosis.checks import Check, Verdict, share_verdict
from scheduler.diagnosis.commands import on_host, sandboxctl, scan_keys, virsh
from scheduler.diagnosis.facts import HostFacts, SshFacts
from scheduler.lifecycle.health import stale
from scheduler.model import HostHealth, HostResources, Inventory, Transport, VirtType

OLDEST_LIBVIRT = (9, 0)
OLDEST_QEMU = (7, 2)
"""The oldest that everything here was proven on."""
POOL_WARNING = 0.15
POOL_FAILURE = 0.05
"""The share of a pool that must be left; guests are paused when a write to a full one fails."""

Judge = Callable[[HostResources, Inventory], Check]


def check_host(facts: HostFacts, now: datetime) -> Iterator[Check]:
    """Yield every check of a host."""
    host = facts.host
    if facts.ssh is not None:
        yield _ssh_key(host, facts.ssh)
        yield _known_hosts(host, facts.ssh)
    yield _reach(host)
    yield _identity(host)
    fresh = not stale(host.observed_at, now, facts.stale_after_seconds)
    for name, judge in _JUDGES.items():
        if facts.inventory is not None and fresh:
            yield judge(host, facts.inventory)
        else:
            yield _check(host, name, Verdict.UNKNOWN, "not known until the host is seen again")
    yield _builds(host, now)


def _check(
    host: HostResources, name: str, verdict: Verdict, message: str, remedy: str | None = None
) -> Check:
    return Check(subject=host.name, name=name, verdict=verdict, message=message, remedy=remedy)


def _ssh_key(host: HostResources, ssh: SshFacts) -> Check:
    key, private = ssh.key, shlex.join(["chmod", "600", ssh.key.path])
    if key.fault is not None:
        make = shlex.join(["ssh-keygen", "-t", "ed25519", "-N", "", "-f", key.path])
        take = f"{shlex.join(['chown', 'sandboxd:', key.path])} && {private}"
        remedy = make if key.missing else take
        return _check(host, "ssh key", Verdict.FAILED, f"{key.path}: {key.fault}", remedy)
    if key.mode & 0o077:
        message = f"{key.path} may be used by others (mode {key.mode:04o})"
        return _check(host, "ssh key", Verdict.WARNING, message, private)
    return _check(host, "ssh key", Verdict.OK, key.path)


def _known_hosts(host: HostResources, ssh: SshFacts) -> Check:
    name, file = "known hosts", ssh.known_hosts
    if file.fault is None and ssh.trusts_host:
        return _check(host, name, Verdict.OK, f"{file.path} has its key")
    why = file.fault or f"there is no key for {host.address} port {host.ssh_port}"
    message = f"{file.path}: {why}; compare what is taken over with the host's own fingerprint"
    return _check(host, name, Verdict.FAILED, message, scan_keys(host))


def _reach(host: HostResources) -> Check:
    if host.health is HostHealth.UP:
        return _check(host, "reach", Verdict.OK, "its polls succeed")
    if host.health is HostHealth.UNKNOWN and host.health_reason is None:
        return _check(host, "reach", Verdict.UNKNOWN, "it was not looked at yet")
    verdict = Verdict.FAILED if host.health is HostHealth.DOWN else Verdict.WARNING
    message = f"{host.health}: {host.health_reason or 'its polls do not all succeed'}"
    return _check(host, "reach", verdict, message, _reconnect(host))


def _reconnect(host: HostResources) -> str:
    if host.transport is Transport.TEST:
        return sandboxctl("host", "show", host.name)
    return on_host(host, "systemctl restart libvirtd", virsh(host, "version"))


def _identity(host: HostResources) -> Check:
    if host.refused_host_uuid is not None:
        message = f"it was {host.host_uuid}, and {host.refused_host_uuid} answers at its address"
        remedy = sandboxctl("host", "accept-identity", host.name, "--uuid", host.refused_host_uuid)
        return _check(host, "identity", Verdict.FAILED, message, remedy)
    if host.host_uuid is None:
        return _check(host, "identity", Verdict.UNKNOWN, "it has not told its UUID yet")
    return _check(host, "identity", Verdict.OK, f"the machine {host.host_uuid}")


def _kvm(host: HostResources, inventory: Inventory) -> Check:
    if host.virt_type is not VirtType.AUTO or inventory.virt_type is VirtType.TEST:
        message = f"{inventory.virt_type} as configured, not proven"
        return _check(host, "kvm", Verdict.OK, message)
    if inventory.virt_type is VirtType.KVM:
        return _check(host, "kvm", Verdict.OK, "proven by a guest that ran to its end")
    message = "no guest ran under KVM: sandboxes are emulated, many times slower"
    remedy = on_host(host, "{ modprobe kvm_intel || modprobe kvm_amd; }", "ls -l /dev/kvm")
    return _check(host, "kvm", Verdict.WARNING, message, remedy)


def _pool(host: HostResources, inventory: Inventory) -> Check:
    pool = inventory.pool
    if pool is not None and pool.active:
        return _check(host, "pool", Verdict.OK, f"{host.pool} is active")
    begin = (virsh(host, "pool-start", host.pool), virsh(host, "pool-autostart", host.pool))
    if pool is not None:
        message = f"{host.pool} is not active"
        return _check(host, "pool", Verdict.FAILED, message, on_host(host, *begin))
    define = virsh(host, "pool-define-as", host.pool, "dir", "--target", "/var/lib/libvirt/images")
    message = f"there is no pool {host.pool}"
    return _check(host, "pool", Verdict.FAILED, message, on_host(host, define, *begin))


def _pool_space(host: HostResources, inventory: Inventory) -> Check:
    pool = inventory.pool
    if pool is None or not pool.capacity:
        return _check(host, "pool space", Verdict.UNKNOWN, f"{host.pool} tells no size")
    left = pool.available / pool.capacity
    verdict = share_verdict(left, warn_below=POOL_WARNING, fail_below=POOL_FAILURE)
    message = f"{left:.0%} of {host.pool} are left"
    show = on_host(host, virsh(host, "vol-list", "--details", host.pool))
    return _check(host, "pool space", verdict, message, None if verdict is Verdict.OK else show)


def _network(host: HostResources, inventory: Inventory) -> Check:
    active = inventory.networks.get(host.network)
    if active:
        return _check(host, "network", Verdict.OK, f"{host.network} is active")
    if active is not None:
        begin = (
            virsh(host, "net-start", host.network),
            virsh(host, "net-autostart", host.network),
        )
        message = f"{host.network} is not active"
        return _check(host, "network", Verdict.FAILED, message, on_host(host, *begin))
    others = sorted(name for name, on in inventory.networks.items() if on)
    message = f"there is no network {host.network}; active: {', '.join(others) or 'none'}"
    if others:
        remedy = sandboxctl("host", "edit", host.name, "--network", others[0])
    else:
        remedy = on_host(host, virsh(host, "net-define", f"{host.network}.xml"))
    return _check(host, "network", Verdict.FAILED, message, remedy)


def _versions(host: HostResources, inventory: Inventory) -> Check:
    found = [("libvirt", inventory.libvirt_version, OLDEST_LIBVIRT)]
    if inventory.hypervisor_version is not None:
        found.append(("QEMU", inventory.hypervisor_version, OLDEST_QEMU))
    message = ", ".join(f"{name} {version}" for name, version, _ in found)
    old = [
        f"{name} {'.'.join(map(str, oldest))}"
        for name, version, oldest in found
        if _numbers(version) < oldest
    ]
    if not old:
        return _check(host, "versions", Verdict.OK, message)
    message = f"{message}: older than {' and '.join(old)}, the oldest this was proven on"
    remedy = on_host(host, "apt-get install --only-upgrade libvirt-daemon-system qemu-system")
    return _check(host, "versions", Verdict.WARNING, message, remedy)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _builds(host: HostResources, now: datetime) -> Check:
    barring = [one for one in host.breakers if one.since <= now < one.retry_at]
    if not barring:
        return _check(host, "builds", Verdict.OK, "nothing is kept off")
    what = ", ".join(one.image or "everything" for one in barring)
    message = f"kept off after failures: {what} ({barring[0].reason})"
    remedy = sandboxctl("host", "show", host.name)
    return _check(host, "builds", Verdict.WARNING, message, remedy)


_JUDGES: dict[str, Judge] = {
    "kvm": _kvm,
    "pool": _pool,
    "pool space": _pool_space,
    "network": _network,
    "versions": _versions,
}
