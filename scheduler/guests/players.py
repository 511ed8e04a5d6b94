"""Plays an Ansible play on a guest: ansible-playbook on the control node, ssh to the guest.

All of it runs in a jail. ssh is given a key that is made for this play, a certificate for this
sandbox that is valid for as long, the authority that the guest must be known by, and a door of ours
as the only way there. Nothing of anybody's ssh or Ansible configuration is read.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scheduler.changes.secrets import redacted
from scheduler.errors import GuestUnreachable
from scheduler.guests import relay
from scheduler.guests.ansible_jail import ansible_jail, jail_fault, run_jailed
from scheduler.guests.doors import Streams, door
from scheduler.model import HostResources, Sandbox
from scheduler.processes import Ended, clean_environment, program

LIMIT_SECONDS = 1200.0
MOST_BYTES = 256 * 1024
SSH = "sandboxd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """How a play ended."""

    succeeded: bool
    reason: str | None
    log: str
    """The end of what it said, redacted and escaped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What lets ssh into a guest; texts of files."""

    private_key: str
    certificate: str
    known_hosts: str


class Way(Protocol):
    """How a guest is reached."""

    def pass_for(self, sandbox: Sandbox, host: HostResources, *, seconds: float) -> Pass:
        """Return a fresh key with a certificate that is valid for so long."""
        ...

    async def stream_to(self, sandbox: Sandbox, host: HostResources) -> Streams:
        """Open a connection to the guest's sshd; raises `GuestUnreachable`."""
        ...


class AnsiblePlayer:
    """Plays plays; each in a private directory that goes with it."""

    def __init__(self, way: Way, *, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._way = way
        self._limit_seconds = limit_seconds

    async def play(self, directory: Path, clone: Sandbox, host: HostResources) -> Played:
        """Play `site.yml` of a directory on a guest.

        Raises `GuestUnreachable`, also where Ansible is not installed.
        """
        tool = program("ansible-playbook")
        if tool is None:
            raise GuestUnreachable(
                "ansible-playbook is not installed on this control node",
                remedy="install ansible-core beside the daemon",
            )
        with tempfile.TemporaryDirectory(prefix="sbxd-play-") as made:
            private = Path(made)
            play = private / "play"
            await asyncio.to_thread(shutil.copytree, directory, play, symlinks=True)
            given = self._way.pass_for(clone, host, seconds=self._limit_seconds)
            _prepare(private, given, clone)
            limit = self._limit_seconds
            jail = ansible_jail(tool, private, _environment(private), cpu_seconds=limit)
            async with door(private, lambda: self._way.stream_to(clone, host)):
                ended = await run_jailed(
                    jail,
                    *(tool, "-i", private / "inventory.json", "site.yml"),
                    cwd=play,
                    limit_seconds=limit,
                    most_bytes=MOST_BYTES,
                )
        fault = jail_fault(ended)
        if fault is not None:
            raise GuestUnreachable(
                f"nothing is played here: {fault}",
                remedy="run the daemon on a kernel with Landlock (5.13 or later, lsm=landlock,...)",
            )
        return _played(ended, self._limit_seconds)


def _prepare(private: Path, given: Pass, sandbox: Sandbox) -> None:
    """Write what ssh and Ansible are given; the directory is ours alone."""
    key = private / "key"
    key.touch(mode=0o600)
    key.write_text(given.private_key, "ascii")
    (private / "key-cert.pub").write_text(given.certificate, "ascii")
    (private / "known_hosts").write_text(given.known_hosts, "ascii")
    (private / "inventory.json").write_text(json.dumps(_inventory(private, sandbox)), "ascii")
    (private / "ansible.cfg").touch()


def _inventory(private: Path, sandbox: Sandbox) -> Mapping[str, object]:
    way = f"{sys.executable} -I {relay.__file__} {private}"
    options = {
        "IdentityFile": private / "key",
        "CertificateFile": private / "key-cert.pub",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": private / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "HostKeyAlias": sandbox.id,
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "ConnectTimeout": "30",
        "ServerAliveInterval": "10",
        "ControlMaster": "no",
        "ControlPath": "none",
        "ProxyCommand": way,
    }
    variables = {
        "ansible_connection": "ssh",
        "ansible_host": sandbox.id,
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_remote_tmp": "/tmp/.sandboxd-play",
        "ansible_ssh_args": " ".join(
            ["-F", "/dev/null", *(f"-o '{name}={value}'" for name, value in options.items())]
        ),
    }
    return {"all": {"hosts": {SSH: variables}}}


def _environment(private: Path) -> Mapping[str, str]:
    return clean_environment(
        private,
        ANSIBLE_CONFIG=str(private / "ansible.cfg"),
        ANSIBLE_HOME=str(private / "ansible"),
        ANSIBLE_LOCAL_TEMP=str(private / "tmp"),
        ANSIBLE_PIPELINING="True",
        ANSIBLE_SSH_TRANSFER_METHOD="piped",
        ANSIBLE_RETRY_FILES_ENABLED="False",
        ANSIBLE_NOCOWS="True",
    )


def _played(ended: Ended, limit_seconds: float) -> Played:
    log = _escaped(redacted(ended.output))
    if ended.code == 0:
        return Played(succeeded=True, reason=None, log=log)
    if ended.code is None:
        return Played(
            succeeded=False, reason=f"the play did not end within {limit_seconds:.0f} s", log=log
        )
    return Played(succeeded=False, reason="the play failed: see its log", log=log)


def _escaped(text: str) -> str:
    return "".join(
        one if one.isprintable() or one == "\n" else f"\\u{ord(one):04x}" for one in text
    )
