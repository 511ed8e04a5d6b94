"""Plays an Ansible play on a guest: ansible-playbook on the control node, ssh to the guest.

All of it runs in a jail. ssh is given a key that is made for this play, a certificate for this
sandbox that is valid for as long, the authority that the guest must be known by, and a door of ours
as the only way there. Nothing of anybody's ssh or Ansible configuration is read.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scheduler.errors import GuestUnreachable
from scheduler.guests import relay
from scheduler.guests.ansible_jail import ansible_jail, jail_fault, run_jailed
from scheduler.guests.doors import Streams, door
from scheduler.guests.redaction import redacted
from scheduler.guests.stages import stage
from scheduler.model import HostResources, Sandbox
from scheduler.processes import Ended, clean_environment, program

LIMIT_SECONDS = 1200.0
MOST_BYTES = 256 * 1024
SSH = "sandboxd"
RECAP = "recap.json"


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

    def pass_for(
        self, sandbox: Sandbox, host: HostResources, *, seconds: float, purpose: str
    ) -> Pass:
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

        def lay_out(private: Path) -> None:
            shutil.copytree(directory, private / "play", symlinks=True)

        staging = Staging(lay_out=lay_out, limit_seconds=self._limit_seconds)
        ended, _ = await ended_in_jail(self._way, staging, clone, host)
        return await asyncio.to_thread(_played, ended, self._limit_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """What is played, and how."""

    lay_out: Callable[[Path], None]
    """Makes `play` with its `site.yml`, and what else it wants, in the private directory."""
    limit_seconds: float
    purpose: str = "verification"
    """What the guest's log says of the certificate."""
    name: str = SSH
    """What the guest is called in the inventory."""
    options: tuple[str, ...] = ()
    environment: Callable[[Path], Mapping[str, str]] = lambda _private: {}


async def ended_in_jail(
    way: Way, staging: Staging, sandbox: Sandbox, host: HostResources
) -> tuple[Ended, bytes]:
    """Play on a guest; return how it ended, and the recap that was left, if one was.

    Raises `GuestUnreachable`, also where Ansible is not installed.
    """
    tool = program("ansible-playbook")
    if tool is None:
        raise GuestUnreachable(
            "ansible-playbook is not installed on this control node",
            remedy="install ansible-core beside the daemon",
        )
    limit = staging.limit_seconds
    with stage() as private:
        await asyncio.to_thread(staging.lay_out, private)
        given = way.pass_for(sandbox, host, seconds=limit, purpose=staging.purpose)
        _prepare(private, given, sandbox, staging.name)
        environment = {**_environment(private), **staging.environment(private)}
        jail = ansible_jail(tool, private, environment, cpu_seconds=limit)
        async with door(private, lambda: way.stream_to(sandbox, host)):
            ended = await run_jailed(
                jail,
                tool,
                "-i",
                private / "inventory.json",
                *staging.options,
                "site.yml",
                cwd=private / "play",
                limit_seconds=limit,
                most_bytes=MOST_BYTES,
            )
        left = _left(private / RECAP)
    fault = jail_fault(ended)
    if fault is not None:
        raise GuestUnreachable(
            f"nothing is played here: {fault}",
            remedy="run the daemon on a kernel with Landlock (5.13 or later, lsm=landlock,...)",
        )
    return ended, left


def _left(path: Path) -> bytes:
    """Return what the jail left in a file; whatever else may be there is not opened."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(opened, "rb") as file:
        return file.read(MOST_BYTES) if stat.S_ISREG(os.fstat(opened).st_mode) else b""


def _prepare(private: Path, given: Pass, sandbox: Sandbox, name: str) -> None:
    """Write what ssh and Ansible are given; the directory is ours alone."""
    key = private / "key"
    key.touch(mode=0o600)
    key.write_text(given.private_key, "ascii")
    (private / "key-cert.pub").write_text(given.certificate, "ascii")
    (private / "known_hosts").write_text(given.known_hosts, "ascii")
    (private / "inventory.json").write_text(json.dumps(_inventory(private, sandbox, name)), "ascii")
    (private / "ansible.cfg").touch()


def _inventory(private: Path, sandbox: Sandbox, name: str) -> Mapping[str, object]:
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
    return {"all": {"hosts": {name: variables}}}


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
        # Otherwise it kills those that have not quite ended, and nobody may kill in the jail.
        ANSIBLE_WORKER_SHUTDOWN_POLL_COUNT="1000000",
    )


def _played(ended: Ended, limit_seconds: float) -> Played:
    log = shown(ended.output)
    if ended.code == 0:
        return Played(succeeded=True, reason=None, log=log)
    if ended.code is None:
        return Played(
            succeeded=False, reason=f"the play did not end within {limit_seconds:.0f} s", log=log
        )
    return Played(succeeded=False, reason="the play failed: see its log", log=log)


def shown(text: str) -> str:
    """Return what was said without secrets, and without what a terminal would obey."""
    # A fault comes from JSON, which can spell what UTF-8 cannot.
    text = redacted(text.encode("utf-8", "replace").decode())
    return "".join(
        one if one.isprintable() or one == "\n" else f"\\u{ord(one):04x}" for one in text
    )
