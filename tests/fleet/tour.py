"""What a guided tour over a fleet needs on disk: the daemon's configuration and ssh's.

Two files in one directory, `config.toml` and `ssh_config`: whoever runs the daemon needs the first,
whoever looks into hosts and guests the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fleet.fleet import Fleet
    from tests.fleet.host import Host
    from tests.fleet.ssh import SshAccess

GUESTS = "192.168.122.*"
"""Every host's own network of this range, reached through the host (`ssh -J`)."""


def write_tour(fleet: Fleet, directory: Path, *, max_sandboxes: int) -> None:
    """Write both files; each host takes `max_sandboxes`."""
    lines = ["[lifecycle]", "poll_seconds = 2"]
    for host in fleet:
        lines += [*host_settings(host, fleet.access), f"max_sandboxes = {max_sandboxes}"]
    (directory / "config.toml").write_text("\n".join([*lines, ""]))
    (directory / "ssh_config").write_text(_ssh_config(fleet))


def host_settings(host: Host, access: SshAccess) -> list[str]:
    """Return the host's table in a daemon's configuration, line by line."""
    return [
        "[[hosts]]",
        f'name = "{host.name}"',
        f'address = "{host.address}"',
        'transport = "ssh"',
        'ssh_user = "root"',
        f'ssh_key = "{access.key}"',
        f'ssh_known_hosts = "{access.known_hosts}"',
        'virt_type = "qemu"',
    ]


def _ssh_config(fleet: Fleet) -> str:
    access = fleet.access
    lines = []
    for host in fleet:
        lines += [f"Host {host.name}", f"  HostName {host.address}"]
        lines += [f"  UserKnownHostsFile {access.known_hosts}"]
    # A guest's key is made on its first boot: there is nothing to compare it with.
    lines += [f"Host {GUESTS}", "  StrictHostKeyChecking no", "  UserKnownHostsFile /dev/null"]
    lines += ["Host *", "  User root", f"  IdentityFile {access.key}", "  IdentitiesOnly yes"]
    lines += ["  BatchMode yes", "  LogLevel ERROR", "  ConnectTimeout 5", ""]
    return "\n".join(lines)
