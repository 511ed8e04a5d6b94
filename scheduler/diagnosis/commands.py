"""Commands as an operator would type them on the control node; every value is quoted for a shell.

A host's own commands run there with the key and the known hosts that the daemon uses, if any, so
that a command that works proves as much as it mends.
"""

from __future__ import annotations

import shlex

from scheduler.model import HostResources, Transport

SYSTEM_URI = "qemu:///system"


def on_host(host: HostResources, *commands: str) -> str:
    """Return how to run shell commands on a host, each only if the one before succeeded."""
    script = " && ".join(commands)
    if host.transport in (Transport.UNIX, Transport.TEST):
        return script
    return shlex.join([*_ssh(host), script])


def virsh(host: HostResources, *arguments: str) -> str:
    """Return a command for the host's libvirt, to be run on the host."""
    uri = host.uri if host.transport is Transport.UNIX and host.uri else SYSTEM_URI
    return shlex.join(["virsh", "-c", uri, *arguments])


def sandboxctl(*arguments: str) -> str:
    """Return a command of our own client."""
    return shlex.join(["sandboxctl", *arguments])


def scan_keys(host: HostResources) -> str:
    """Return how to take a host's keys over, which has to be followed by comparing them."""
    scan = shlex.join(["ssh-keyscan", "-p", str(host.ssh_port), host.address])
    return f"{scan} >> {shlex.quote(str(host.ssh_known_hosts))}"


def _ssh(host: HostResources) -> list[str]:
    options = ["-i", host.ssh_key] if host.ssh_key else []
    if host.ssh_known_hosts:
        options += ["-o", f"UserKnownHostsFile={host.ssh_known_hosts}"]
    target = f"{host.ssh_user}@{host.address}" if host.ssh_user else host.address
    return ["ssh", "-p", str(host.ssh_port), *options, target]
