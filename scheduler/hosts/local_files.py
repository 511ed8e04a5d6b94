"""What the files of this machine are like that a host is reached with; looked at, never judged."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import asyncssh

from scheduler.diagnosis.facts import FileFacts, SshFacts
from scheduler.model import HostResources, Transport


def look_at(path: Path) -> FileFacts:
    """Return a file's or a directory's permissions, or why it cannot be read."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        readable = os.access(path, os.R_OK)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        return FileFacts(path=str(path), fault=error.strerror or str(error), missing=missing)
    fault = None if readable else "the daemon may not read it"
    return FileFacts(path=str(path), fault=fault, mode=mode)


def look_at_ssh_files(host: HostResources) -> SshFacts | None:
    """Return what an ssh connection to the host finds here; None when it needs no ssh."""
    if host.transport is not Transport.SSH or not host.ssh_key or not host.ssh_known_hosts:
        return None
    known_hosts = look_at(Path(host.ssh_known_hosts))
    trusts = False
    if known_hosts.fault is None:
        try:
            trusts = _trusts(host)
        except (OSError, ValueError, asyncssh.Error) as error:
            known_hosts = FileFacts(path=known_hosts.path, fault=f"not understood: {error}")
    return SshFacts(key=look_at(Path(host.ssh_key)), known_hosts=known_hosts, trusts_host=trusts)


def _trusts(host: HostResources) -> bool:
    matched = asyncssh.match_known_hosts(str(host.ssh_known_hosts), host.address, "", host.ssh_port)
    host_keys, authorities, _revoked, certificates, *_ = matched
    return bool(host_keys or authorities or certificates)
