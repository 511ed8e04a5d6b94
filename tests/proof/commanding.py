"""Commands in booted guests, asked for as users ask: `sandboxctl` as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fleet.fleet import Fleet
from tests.fleet.process import wait_until
from tests.proof.daemon import Daemon, Document, running
from tests.proof.test_main_job import Story, configuration

CLIENT = (sys.executable, "-c", "from scheduler.cli.main import main; main()")
LONG_S = 240
# Whoever carries one of the marks; grep itself has them as arguments, not in its environment.
LOOK = "grep -lzE '^SANDBOXD_COMMAND=('\"$1\"')$' /proc/[0-9]*/environ 2>/dev/null; true"


@dataclass(frozen=True)
class Commanding:
    """One host, one daemon, and guests that take commands."""

    fleet: Fleet
    daemon: Daemon
    story: Story

    def ctl(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run `sandboxctl` to its end."""
        environment = {**os.environ, "SANDBOXD_SOCKET": str(self.daemon.socket), "TOKEN": "s3cr3t!"}
        return subprocess.run(
            [*CLIENT, *words],
            input=stdin,
            env=environment,
            capture_output=True,
            check=False,
            timeout=LONG_S * 4,
        )

    def exec(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run `sandboxctl exec` to its end."""
        return self.ctl("exec", *words, stdin=stdin)

    def boots(self, name: str, **fields: object) -> Document:
        """Create a sandbox and wait until its guest's sshd takes the daemon's certificate."""
        self.story.create(name, ready="ssh", **fields)
        return self.daemon.wait_for(name, seconds=LONG_S, state="RUNNING")

    def begin(self, name: str, *argv: str) -> str:
        """Have a command run, and return its id once it has said something."""
        asked = self.daemon.api.post(f"/v1/sandboxes/{name}/commands", {"argv": list(argv)})
        command_id = str(asked["id"])
        stream = self.daemon.api.stream(f"/v1/commands/{command_id}/output", idle_seconds=LONG_S)
        said = next(iter(stream)) or {}
        stream.close()
        assert "data" in said, f"{said}: {self.daemon.log_tail()}"
        return command_id

    def command(self, command_id: str) -> Document:
        """Return a command as the API tells it."""
        found: Document = self.daemon.api.get(f"/v1/commands/{command_id}")
        return found

    def ended(self, command_id: str, *, seconds: float = LONG_S) -> Document:
        """Wait until a command has ended, and return it."""

        def over() -> bool:
            return bool(self.command(command_id)["status"] != "RUNNING")

        wait_until(over, what=f"end of {command_id}", limit_s=seconds, every_s=0.2)
        return self.command(command_id)

    def newest(self, name: str) -> Document:
        """Return the sandbox's newest command."""
        return self.command(
            next(iter(self.daemon.api.items(f"/v1/sandboxes/{name}/commands")))["id"]
        )

    def running_of(self, name: str, *command_ids: str) -> list[str]:
        """Return the processes in the guest that carry one of these commands' marks."""
        looked = self.exec(name, "--", "sh", "-c", LOOK, "sh", "|".join(command_ids))
        assert looked.returncode == 0, looked
        return looked.stdout.decode().split()


@contextmanager
def commanding(
    directory: Path, *, settings: str = "", account: str = "root", fence: str = ""
) -> Iterator[Commanding]:
    """Yield a host that is up under a daemon; no guest yet.

    The daemon logs in to the host as `account`, which `fence` of its sshd may confine.
    """
    with Fleet.make(1) as fleet:
        host = fleet["h1"]
        with host.file("/etc/ssh/sshd_config").open("a") as file:
            file.write(fence)
        host.signal_daemon("sshd", "HUP")
        host.run("chgrp", account, "/run/libvirt/libvirt-sock")
        host.run("chmod", "g+rw", "/run/libvirt/libvirt-sock")
        text = configuration(fleet).replace('ssh_user = "root"', f'ssh_user = "{account}"')
        with running(directory, f"{text}\n{settings}") as daemon:
            story = Story(fleet, daemon)
            story.hosts_come_up()
            yield Commanding(fleet, daemon, story)
