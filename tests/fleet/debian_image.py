"""The full guest image: a whole Debian with systemd, cloud-init and QEMU's agent.

Its kernel and initramfs are the small image's, because a firmware and a boot loader of its own
would take longer than the rest; from the first process on it is what Debian's packages make it.
For proofs that are asked for: it takes minutes to build once, and one to boot under emulation.
"""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fleet import image, python_image
from tests.fleet.process import run

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = (
    *("apt", "cloud-init", "dbus", "iproute2", "libpam-systemd", "netplan.io", "openssh-server"),
    *("python3", "python3-apt", "qemu-guest-agent", "sudo", "systemd-sysv", "udev", "cron"),
)
DISK_MIB = 1024
MEMORY_MIB = 512
FSTAB = "LABEL=small-root / ext4 rw,noatime 0 0\n"
MACHINE_ID = "5b8d9b0c7e4d4f0f9a3c2d1e0f6a7b8c"
"""One that every clone has: an image that somebody forgot to clean is the harder case."""
# A fleet's guests reach nobody, and no key but the shortest is worth the seconds of making it.
CLOUD = """\
datasource_list: [NoCloud]
apt_preserve_sources_list: true
locale: false
ssh_genkeytypes: [ed25519]
"""
SLEEPERS = ("asleep", "awake", "doomed")
"""Services that do nothing, for whoever wants to change some; all but the first are enabled."""
SLEEPER = """\
[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("e2scrub_reap.service", "fstrim.timer", "systemd-networkd-wait-online.service"),
    "user@.service",
)
"""What wakes by itself, what waits for nothing, and half a minute of each login under emulation."""


def debian_image() -> Path:
    """The image's file (qcow2), built now unless it is in the cache; read it, never write it."""
    packages = [*image.boot_packages(), *PACKAGES]
    recipes = [Path(one) for one in (image.__file__, python_image.__file__, __file__)]
    return image.cached("debian", image.digest(packages, recipes), _build)


def _build(workshop: Path) -> Path:
    root = workshop / "root"
    # What is mounted for the packages' scripts cannot outlive the namespace it is mounted in.
    run("unshare", "-m", "mmdebstrap", *_options(), str(root), *python_image.sources(), limit_s=900)
    unpacked = image.unpacked_in(workshop, image.boot_packages())
    python_image.offer(workshop / "offered", root)
    (root / "usr" / "bin" / "init").symlink_to("/lib/systemd/systemd")
    shutil.copy(image.GUEST_FILES / "root" / "boot" / "extlinux.conf", root / "boot")
    (root / "etc" / "fstab").write_text(FSTAB)
    (root / "etc" / "cloud" / "cloud.cfg.d" / "90-fleet.cfg").write_text(CLOUD)
    for unit in MASKED:
        (root / "etc" / "systemd" / "system" / unit).symlink_to("/dev/null")
    for name in SLEEPERS:
        (root / "usr" / "lib" / "systemd" / "system" / f"{name}.service").write_text(SLEEPER)
    run("systemctl", f"--root={root}", "enable", *SLEEPERS[1:])
    _forget_the_builder(root / "etc")
    image.install_kernel(workshop / "initramfs", unpacked, root / "boot")
    return image.disk(workshop, root, DISK_MIB)


def _forget_the_builder(etc: Path) -> None:
    """Take out what is of the machine that built it, and would be the same in every clone."""
    for key in (etc / "ssh").glob("ssh_host_*"):
        key.unlink()
    (etc / "machine-id").write_text(f"{MACHINE_ID}\n")
    (etc / "resolv.conf").write_text("")
    (etc / "hostname").write_text("debian\n")


def _options() -> Iterator[str]:
    yield from ("--quiet", "--mode=root", "--variant=minbase", "--format=directory")
    yield f"--include={','.join(PACKAGES)}"
    yield "--dpkgopt=force-unsafe-io"
    for name in python_image.UNREAD:
        yield f"--dpkgopt=path-exclude=/usr/share/{name}/*"
    yield '--aptopt=Apt::Install-Recommends "false"'
    yield platform.freedesktop_os_release()["VERSION_CODENAME"]
