"""Many unprivileged libvirtd on one machine, each serving libvirt's test driver on its own socket.

A daemon's state outlives its clients, it can be frozen like a hung host and killed like a crashed
one; `test:///` inside the client process can do none of that. libvirt drops that state with the
last connection, so every daemon has a client of ours, its anchor, for as long as it runs. For real
guests see `host`; the same daemons serve QEMU's session driver as well.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from typing import TYPE_CHECKING, Self

from tests.fleet.cleanup import Scratch
from tests.fleet.process import ProcessError, Server, User, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fleet.certificates import Listening

UNPRIVILEGED = "daemon"
"""Not nobody: what is jailed is, and of that only so many processes may be at once."""
CONFIGURATION = """\
auth_unix_rw = "none"
max_client_requests = 5
"""


class FarmHost:
    """One libvirtd with the test driver's host behind it."""

    def __init__(
        self, name: str, directory: Path, user: User | None, *, listening: Listening | None = None
    ) -> None:
        self.name = name
        self._listening = listening
        self.socket = directory / "run" / "libvirt" / "libvirt-sock"
        self._directory = directory
        self._user = user
        self._prepare()
        self._server = self._start()
        self._anchor: Server | None = None
        self._was_killed = False

    @property
    def uri(self) -> str:
        """What libvirt's client connects to; the state behind it lives in the daemon."""
        return f"test+unix:///default?socket={self.socket}"

    @property
    def qemu_uri(self) -> str:
        """The same daemon's QEMU driver, without root."""
        return f"qemu+unix:///session?socket={self.socket}"

    @property
    def pid(self) -> int:
        """The daemon's process; another one after `restart`."""
        return self._server.pid

    def own_end(self) -> str | None:
        """How the daemon ended although nobody ended it, with its last words; else None."""
        if self._was_killed or self._server.is_running:
            return None
        return f"libvirtd ended with {self._server.exit_code}\n{self._server.log_tail()}"

    def suspend(self) -> None:
        """Make the host hang: it accepts connections and never answers."""
        self._server.suspend()

    def resume(self) -> None:
        """Let a hung host go on where it was."""
        self._server.resume()

    def kill(self) -> None:
        """Crash the host; its domains are gone with it. Nothing answers until `restart`."""
        self._was_killed = True
        self._server.kill()
        self._weigh_anchor()

    def restart(self) -> None:
        """Start the daemon anew, as fresh as at first; returns once it answers."""
        self._server.stop()
        self._weigh_anchor()
        self._server = self._start()
        self._was_killed = False
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return once the daemon answers calls and will keep its state."""
        self._server.wait_until_ready(self._answers)
        log = self._directory / "anchor.log"
        log.unlink(missing_ok=True)
        argv = ["virsh", "-q", "-k0", "-c", self.uri, "uri; event --event lifecycle --loop"]
        self._anchor = Server.start(argv, log=log)
        self._anchor.wait_until_ready(lambda: self.uri in log.read_text())

    def close(self) -> None:
        """End the daemon; its files are the farm's to remove."""
        self._server.kill()
        self._weigh_anchor()

    def _weigh_anchor(self) -> None:
        if self._anchor is not None:
            self._anchor.kill()

    def _prepare(self) -> None:
        for directory in (self._directory, self._directory / "run"):
            directory.mkdir(mode=0o755)
            if self._user is not None:
                os.chown(directory, self._user.uid, self._user.gid)
        more = "" if self._listening is None else self._listening.configuration()
        (self._directory / "libvirtd.conf").write_text(CONFIGURATION + more)

    def _start(self) -> Server:
        home, runtime = str(self._directory), str(self._directory / "run")
        # A killed daemon leaves its socket, which would pass for the next one's.
        self.socket.unlink(missing_ok=True)
        return Server.start(
            [
                "libvirtd",
                *(["--listen"] if self._listening is not None else []),
                *["-f", f"{home}/libvirtd.conf", "-p", f"{runtime}/libvirtd.pid"],
            ],
            log=self._directory / "libvirtd.log",
            user=self._user,
            environment={
                "PATH": os.environ["PATH"],
                "HOME": home,
                "XDG_RUNTIME_DIR": runtime,
                "XDG_CONFIG_HOME": f"{home}/config",
                "XDG_CACHE_HOME": f"{home}/cache",
                "XDG_DATA_HOME": f"{home}/data",
            },
        )

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        try:
            run("virsh", "-q", "-c", self.uri, "version", limit_s=30)
        except (ProcessError, subprocess.TimeoutExpired):
            return False
        return True


class ListeningHost:
    """A farm host that is reached over TLS too; it and its files end with the block."""

    def __init__(self, listening: Listening) -> None:
        self._scratch = Scratch.make("tls")
        try:
            directory = self._scratch.directory / "tls"
            self.host = FarmHost("tls", directory, _user(), listening=listening)
        except BaseException:
            self._scratch.close()
            raise
        try:
            self.host.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> FarmHost:
        return self.host

    def __exit__(self, *_: object) -> None:
        self.host.close()
        self._scratch.close()


class LibvirtdFarm:
    """Some farm hosts, named farm1, farm2 and so on; started together, ready when made."""

    def __init__(self, count: int) -> None:
        user = _user()
        self._scratch = Scratch.make("farm")
        self.hosts: list[FarmHost] = []
        try:
            for number in range(1, count + 1):
                name = f"farm{number}"
                self.hosts.append(FarmHost(name, self._scratch.directory / name, user))
            for host in self.hosts:
                host.wait_until_ready()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[FarmHost]:
        return iter(self.hosts)

    def __getitem__(self, index: int) -> FarmHost:
        return self.hosts[index]

    def close(self) -> None:
        """End every daemon and remove their files."""
        for host in self.hosts:
            host.close()
        self._scratch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _user() -> User | None:
    """Whom the daemons run as: root would get the system's drivers, so root steps down."""
    if os.geteuid() != 0:
        return None
    account = pwd.getpwnam(UNPRIVILEGED)
    return User(uid=account.pw_uid, gid=account.pw_gid)
