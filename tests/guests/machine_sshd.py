"""A machine as far as its preparation goes: a mount namespace with its own /etc, and a real sshd.

What is done to it, accounts and files under /etc, is done in an overlay that goes with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scheduler.model import SourceVM
from tests.clocks import START
from tests.fleet.process import Server, on_free_port, run
from tests.fleet.ssh import make_key
from tests.guests.sshd import ADDRESS, wait_for_sshd

SSHD = "/usr/sbin/sshd"
SETTINGS = """\
ListenAddress {address}:{port}
PidFile /run/machine-sshd.pid
HostKey /etc/ssh/machine_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM yes
UseDNS no
StrictModes no
AuthorizedKeysFile /etc/ssh/operator.pub
Subsystem sftp internal-sftp
"""
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf\n"
SOURCE = SourceVM(id="SVM-01", name="golden", host_name="here", created_at=START, updated_at=START)
_INIT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir -p "$1/upper" "$1/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" /etc
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
rm -rf /etc/ssh/sshd_config.d
mkdir /etc/ssh/sshd_config.d
cp "$2/sshd_config" /etc/ssh/sshd_config
cp "$2/operator.pub" /etc/ssh/operator.pub
cp "$2/machine_key" /etc/ssh/machine_key
chmod 600 /etc/ssh/machine_key
exec /usr/sbin/sshd -D -e
"""


@dataclass(frozen=True, kw_only=True)
class MachineSshd:
    """A running machine and the key that opens it."""

    port: int
    server: Server
    key: Path
    host_key: Path

    def run(self, *argv: str) -> str:
        """Run a command as root on the machine."""
        return run("nsenter", "--mount", f"--target={self.server.pid}", "--", *argv)

    def read(self, path: str) -> str:
        return self.run("cat", path)

    def write(self, path: str, content: str) -> None:
        file = Path(f"/proc/{self.server.pid}/root{path}")
        file.write_text(content)

    def has(self, path: str) -> bool:
        return Path(f"/proc/{self.server.pid}/root{path}").exists()


@contextmanager
def machine_sshd(directory: Path, *, include: bool = True) -> Iterator[MachineSshd]:
    """Run a machine whose root takes one key; `include`: whether its sshd reads a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    key, host_key = directory / "operator", directory / "machine_key"
    for made in (key, host_key):
        make_key(made, made.name)
    (directory / "mounts").mkdir()
    argv = ["unshare", "--mount", "sh", "-c", _INIT, "sh", str(directory / "mounts")]
    log = directory / "sshd.log"

    def start(port: int) -> MachineSshd:
        settings = SETTINGS.format(address=ADDRESS, port=port)
        (directory / "sshd_config").write_text((INCLUDE if include else "") + settings)
        server = Server.start([*argv, str(directory)], log=log)
        wait_for_sshd(server, log, port)
        return MachineSshd(port=port, server=server, key=key, host_key=host_key)

    machine = on_free_port(start)
    try:
        yield machine
    finally:
        machine.server.kill()
