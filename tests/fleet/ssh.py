"""The control node's key, the host keys it trusts, and the ssh commands to hosts and guests."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.fleet.process import Server, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SSH_PORT = 22
QUIET = ("-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=30")
# A guest's key is made on its first boot: there is nothing to compare it with.
ANY_HOST_KEY = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")


class SshAccess:
    """How the control node reaches hosts, and guests behind them."""

    def __init__(self, directory: Path) -> None:
        self.key = directory / "id_ed25519"
        self.known_hosts = directory / "known_hosts"
        make_key(self.key, "fleet")
        self.known_hosts.touch()

    @property
    def public_key(self) -> str:
        """The line that lets this key in when it stands in `authorized_keys`."""
        return public_key(self.key)

    def trust(self, address: str, host_key: str) -> None:
        """Have `host_key`, a public key's line, be the one of the host at `address`."""
        with self.known_hosts.open("a") as file:
            file.write(f"{address} {' '.join(host_key.split()[:2])}\n")

    def host_argv(self, address: str, *arguments: str) -> list[str]:
        """The ssh command for root on the host at `address`; `arguments` count before ours."""
        trusted = ("-o", f"UserKnownHostsFile={self.known_hosts}")
        login = ("-F", "none", "-i", str(self.key), "-l", "root", "-p", str(SSH_PORT))
        return ["ssh", *arguments, *QUIET, *trusted, *login, address]

    def guest_argv(self, host_address: str, guest_address: str) -> list[str]:
        """The ssh command for root on a guest of that host, through the host."""
        proxy = " ".join(self.host_argv(host_address, "-W", "%h:%p"))
        login = ("-F", "none", "-i", str(self.key), "-l", "root", "-o", f"ProxyCommand={proxy}")
        return ["ssh", *QUIET, *ANY_HOST_KEY, *login, guest_address]

    @contextmanager
    def forwarded_socket(self, address: str, remote: str) -> Iterator[Path]:
        """A local socket that reaches the host's socket `remote` for as long as the block runs."""
        local = self.key.with_name(f"forwarded-{address}")
        forward = ("-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{local}:{remote}")
        log = self.key.with_name(f"forwarded-{address}.log")
        tunnel = Server.start(self.host_argv(address, *forward), log=log)
        try:
            tunnel.wait_until_ready(lambda: _listens(local))
            yield local
        finally:
            tunnel.kill()
            local.unlink(missing_ok=True)


def _listens(path: Path) -> bool:
    """Whether somebody listens on a socket, whose file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def make_key(path: Path, comment: str) -> None:
    """Make an Ed25519 key pair without a passphrase."""
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))


def public_key(path: Path) -> str:
    """The public half of the key at `path`, one line."""
    return path.with_name(f"{path.name}.pub").read_text().strip()
