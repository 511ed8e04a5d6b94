"""A real libvirt host on this machine: namespaces with libvirtd, sshd and files of their own.

Everything of a host descends from one process, its init: when that dies, by `power_off` or with
us, the kernel ends every process, mount and interface of the host at once. Its files stay until
the fleet goes, so a host can be power-cycled.
"""

from __future__ import annotations

import shutil
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fleet.process import RUN_LIMIT_S, ProcessError, Server, run, wait_until
from tests.fleet.ssh import SSH_PORT, SshAccess, make_key, public_key

if TYPE_CHECKING:
    from ipaddress import IPv4Interface

    from tests.fleet.network import Network

MACHINE = Path(__file__).with_name("machine")
NAMESPACES = ("--mount", "--net", "--pid", "--uts", "--ipc")
OWN_DIRECTORIES = ("var/cache/libvirt", "var/lib/libvirt/images", "var/log/libvirt", "run")
NAMESPACE_OF_UUIDS = uuid.UUID("8d4e6d6c-6b0c-4c43-9f0e-5b5f7a0c9a77")
# kill(2) spares the caller and the init.
EVERY_PROCESS = "-1"
IMAGES = "/var/lib/libvirt/images"
FIRST_BOOT = f"""
net-define /etc/libvirt/network.xml; net-autostart default; net-start default;
pool-define-as default dir --target {IMAGES}; pool-autostart default; pool-start default
"""


class Host:
    """One host of a fleet. It is up when made; commands run in it as root."""

    ssh_port = SSH_PORT
    libvirt_socket = "/run/libvirt/libvirt-sock"
    pool = "default"
    network = "default"

    def __init__(self, index: int, directory: Path, network: Network, access: SshAccess) -> None:
        self.name = f"h{index + 1}"
        self.host_uuid = str(uuid.uuid5(NAMESPACE_OF_UUIDS, self.name))
        self.directory = directory
        self._index = index
        self._network = network
        self._access = access
        self._init: Server | None = None
        self._lay_out()

    @property
    def address(self) -> str:
        """Where the control node reaches its sshd."""
        return str(self._interface.ip)

    @property
    def uri(self) -> str:
        """What libvirt's client on this machine connects to, until the host is powered off."""
        return f"qemu+unix:///system?socket={self.file(self.libvirt_socket)}"

    @property
    def is_up(self) -> bool:
        return self._init is not None and self._init.is_running

    def run(self, *argv: str, limit_s: float = RUN_LIMIT_S) -> str:
        """Run a command on the host and return its output; `ProcessError` when it fails."""
        return run(*self.argv(*argv), limit_s=limit_s)

    def argv(self, *argv: str) -> list[str]:
        """The command that runs `argv` on the host, for those who start it themselves."""
        enter = ["nsenter", *NAMESPACES, f"--target={self._pid}", "--"]
        # nsenter forks; who kills it means the command.
        return [*enter, "setpriv", "--pdeathsig", "KILL", "--", *argv]

    def virsh(self, *arguments: str, limit_s: float = RUN_LIMIT_S) -> str:
        """What the host's own virsh says."""
        return self.run("virsh", "-q", "-c", "qemu:///system", *arguments, limit_s=limit_s)

    def file(self, path: str) -> Path:
        """A file of the running host, as the control node can open it."""
        return Path(f"/proc/{self._pid}/root") / path.lstrip("/")

    def power_on(self) -> None:
        """Boot the host; returns once libvirtd and sshd answer."""
        init = ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc"]
        argv = [*init, str(MACHINE / "init"), self.name, str(self.directory)]
        log = self.directory / "init.log"
        self._init = Server.start(argv, log=log, is_tethered=True)
        self._init.wait_until_ready(lambda: self._first_child_is_up())
        self._network.connect(self._index, self._pid)
        self.run("ip", "address", "add", str(self._interface), "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("virtlogd", "--daemon")
        self.start_libvirtd()
        self.start_sshd()

    def power_off(self) -> None:
        """Pull the plug: guests, daemons, interfaces and `/run` are gone at once."""
        if self._init is not None:
            self._init.kill()
            self._init = None
            self._network.disconnect(self._index)

    def power_cycle(self) -> None:
        """Pull the plug and boot again from the same files."""
        self.power_off()
        self.power_on()

    def start_libvirtd(self) -> None:
        """Start libvirtd; returns once it answers."""
        self.run("libvirtd", "--daemon")
        wait_until(self._libvirtd_answers, what=f"libvirtd on {self.name}")

    def stop_libvirtd(self, with_signal: str = "TERM") -> None:
        """End libvirtd; guests go on without it."""
        pid = self.signal_daemon("libvirtd", with_signal)
        wait_until(lambda: not self.file(f"/proc/{pid}").exists(), what=f"end of {self.name}")

    def restart_libvirtd(self) -> None:
        """Restart libvirtd under its running guests."""
        self.stop_libvirtd()
        self.start_libvirtd()

    def suspend_libvirtd(self) -> None:
        """Have libvirtd accept connections and never answer."""
        self.signal_daemon("libvirtd", "STOP")

    def resume_libvirtd(self) -> None:
        """Let a suspended libvirtd go on."""
        self.signal_daemon("libvirtd", "CONT")

    def start_sshd(self) -> None:
        """Start sshd; returns once it listens."""
        # It goes to the background before it listens, and tells its pid after.
        self.run("/usr/sbin/sshd")
        wait_until(self._sshd_listens, what=f"sshd on {self.name}")

    def stop_sshd(self) -> None:
        """End sshd's listener, and return once it refuses; connections that stand go on."""
        self.signal_daemon("sshd", "TERM")
        wait_until(lambda: not self._sshd_listens(), what=f"end of sshd on {self.name}")

    def kill_sshd(self) -> None:
        """End sshd and every connection at once, and return once its port is free."""
        self.run("pkill", "-KILL", "-x", "sshd")
        listening = ("ss", "-Hltn", f"sport = :{self.ssh_port}")
        wait_until(lambda: not self.run(*listening), what=f"end of sshd on {self.name}")
        self._sshd_pid_file.unlink()

    def suspend(self) -> None:
        """Freeze every process of the host, its guests too; its kernel still accepts."""
        self._kill("STOP", EVERY_PROCESS)

    def resume(self) -> None:
        """Thaw a frozen host."""
        self._kill("CONT", EVERY_PROCESS)

    def suspend_guest(self, domain: str) -> None:
        """Freeze a guest's QEMU, so that its monitor never answers."""
        self._signal(f"/run/libvirt/qemu/{domain}.pid", "STOP")

    def resume_guest(self, domain: str) -> None:
        """Thaw a guest's QEMU."""
        self._signal(f"/run/libvirt/qemu/{domain}.pid", "CONT")

    def signal_daemon(self, name: str, signal_name: str) -> str:
        """Send a signal to `libvirtd`, `virtlogd` or `sshd`; returns its pid on the host."""
        return self._signal(f"/run/{name}.pid", signal_name)

    def pid_outside(self, name: str) -> int:
        """The pid of `libvirtd`, `virtlogd` or `sshd` as this machine counts it."""
        found: list[int] = []

        def is_found() -> bool:
            # The kernel leaves some out of the list while others of it end.
            found[:] = [pid for pid in children(self._pid) if name_of(pid) == name]
            return bool(found)

        wait_until(is_found, what=f"{name} on {self.name}")
        return found[0]

    def provision(self, image: Path) -> None:
        """Once after the first boot: the NAT network, the pool, and the image in it."""
        shutil.copy(image, self.file(IMAGES) / "small.qcow2")
        self.virsh(" ".join(FIRST_BOOT.split()))

    def offer(self, image: Path, name: str) -> None:
        """Put another image into the pool, once."""
        if not (self.file(IMAGES) / name).exists():
            shutil.copy(image, self.file(IMAGES) / name)
            self.virsh("pool-refresh", self.pool)

    @property
    def _interface(self) -> IPv4Interface:
        return self._network.host_address(self._index)

    @property
    def _pid(self) -> int:
        """The init's process, in whose namespaces the host lives."""
        if self._init is None:
            raise ProcessError(f"host {self.name} is powered off")
        born = children(self._init.pid)
        if not born:
            raise ProcessError(f"host {self.name} has no init\n{self._init.log_tail()}")
        return born[0]

    def _first_child_is_up(self) -> bool:
        try:
            return self.file("/run/up").exists()
        except ProcessError:
            return False

    def _signal(self, pid_file: str, signal_name: str) -> str:
        pid = self.file(pid_file).read_text().strip()
        self._kill(signal_name, pid)
        return pid

    def _kill(self, signal_name: str, pid: str) -> None:
        self.run("sh", "-c", 'kill -s "$1" -- "$2"', "-", signal_name, pid)

    def _libvirtd_answers(self) -> bool:
        try:
            self.virsh("uri", limit_s=10)
        except (ProcessError, subprocess.TimeoutExpired):
            return False
        return True

    @property
    def _sshd_pid_file(self) -> Path:
        return self.file("/run/sshd.pid")

    def _sshd_listens(self) -> bool:
        try:
            return bool(self._sshd_pid_file.read_text().strip())
        except FileNotFoundError:
            return False

    def _lay_out(self) -> None:
        for name in OWN_DIRECTORIES:
            (self.directory / name).mkdir(parents=True)
        etc = self.directory / "etc"
        shutil.copytree(MACHINE / "etc", etc)
        with (etc / "libvirt" / "libvirtd.conf").open("a") as file:
            file.write(f'host_uuid = "{self.host_uuid}"\n')
        if (filters := Path("/etc/libvirt/nwfilter")).exists():
            shutil.copytree(filters, etc / "libvirt" / "nwfilter")
        host_key = etc / "ssh" / "ssh_host_ed25519_key"
        make_key(host_key, self.name)
        (etc / "ssh" / "authorized_keys").write_text(f"{self._access.public_key}\n")
        self._access.trust(self.address, public_key(host_key))
        names = f"127.0.0.1 localhost\n{self.address} {self.name}\n"
        (self.directory / "hosts").write_text(names)


def children(pid: int) -> list[int]:
    """The pids of a process's children, those included that it took over from others."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def name_of(pid: int) -> str | None:
    """What a process is called; None when it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
