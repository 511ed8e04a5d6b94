"""A guest as far as SSH goes: OpenSSH's sshd on loopback, set up by a seed as cloud-init does it.

It is real and up in a moment, so what is asked of a guest's sshd need not wait for one to boot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import yaml
from pycdlib import PyCdlib

from scheduler.guests.seed import GuestAccess, seed_iso
from scheduler.model import HostResources, Sandbox, SandboxState, Transport
from tests.clocks import START
from tests.fleet.process import Server, on_free_port

SSHD = "/usr/sbin/sshd"
ADDRESS = "127.0.0.1"
SETTINGS = """
ListenAddress {address}:{port}
PidFile none
AuthorizedKeysFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM yes
UseDNS no
StrictModes no
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
"""
HOST = HostResources(
    id="HST-01", name="here", address="localhost", updated_at=START, transport=Transport.UNIX
)
SANDBOX = Sandbox(
    id="SBX-01",
    job_id="JOB-01",
    agent_id="agent-1",
    sandbox_name="sbx-01",
    base_image="golden.qcow2",
    network="default",
    ip_address=ADDRESS,
    state=SandboxState.RUNNING,
    vcpus=1,
    memory_mb=128,
    storage_mb=128,
    created_at=START,
    updated_at=START,
)


@dataclass(frozen=True, kw_only=True)
class GuestSshd:
    """A running sshd, and the sandbox as whose guest it answers."""

    sandbox: Sandbox
    port: int
    server: Server
    directory: Path

    @property
    def log(self) -> str:
        return (self.directory / "sshd.log").read_text(errors="replace")


@contextmanager
def guest_sshd(
    directory: Path, access: GuestAccess, sandbox: Sandbox = SANDBOX, *, certified: bool = True
) -> Iterator[GuestSshd]:
    """Run an sshd whose files are those of the sandbox's seed, but perhaps for its certificate."""
    root = directory / f"guest-{sandbox.id}"
    root.mkdir(parents=True)
    config = root / "sshd_config"
    _apply(seed_iso(sandbox.id, sandbox.sandbox_name, [], access), root)
    seeded = (root / "etc/ssh/sshd_config.d/00-sandboxd.conf").read_text()
    if not certified:
        seeded = seeded.replace("HostCertificate", "#")
    Path("/run/sshd").mkdir(exist_ok=True)
    log = root / "sshd.log"

    def start(port: int) -> GuestSshd:
        config.write_text(seeded + SETTINGS.format(address=ADDRESS, port=port))
        server = Server.start([SSHD, "-D", "-e", "-f", str(config)], log=log)
        wait_for_sshd(server, log, port)
        at = replace(sandbox, ip_address=ADDRESS)
        return GuestSshd(sandbox=at, port=port, server=server, directory=root)

    guest = on_free_port(start)
    try:
        yield guest
    finally:
        guest.server.kill()


def user_data(iso: bytes) -> bytes:
    """Return a seed's user-data."""
    image, out = PyCdlib(), BytesIO()
    image.open_fp(BytesIO(iso))
    image.get_file_from_iso_fp(out, rr_path="/user-data")
    image.close()
    return out.getvalue()


def _apply(iso: bytes, root: Path) -> None:
    """Write a seed's files below `root`, their mention of each other included."""
    for file in yaml.safe_load(user_data(iso))["write_files"]:
        path = root / file["path"].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"].replace("/etc/ssh/", f"{root}/etc/ssh/"))
        path.chmod(int(file["permissions"], 8))


def wait_for_sshd(server: Server, log: Path, port: int) -> None:
    """Return once it listens by its own word: somebody else may listen there. It ends if not."""
    listens = f"Server listening on {ADDRESS} port {port}."
    try:
        server.wait_until_ready(lambda: listens in log.read_text(errors="replace"))
    except BaseException:
        server.kill()
        raise
