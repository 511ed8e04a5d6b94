"""The guest image where Ansible runs: Debian's least with python3, dpkg, apt and sshd.

It boots like the small one, with the same kernel, initramfs and first files, and busybox as its
first process; unlike that one its packages are installed, so that dpkg knows them. There is no
network where it runs: its only repository is a directory of its own, with one small package. It is
cached as the small one is: building takes most of a minute.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fleet import image
from tests.fleet.process import run

if TYPE_CHECKING:
    from collections.abc import Iterator

# Ansible's modules need most of the standard library, and `apt` its bindings.
PACKAGES = ("apt", "openssh-server", "python3", "python3-apt")
DISK_MIB = 448
MEMORY_MIB = 256
UNREAD = ("doc", "info", "locale", "man", "lintian", "bug")
SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
FIRST_PROGRAMS = "usr/lib/small"
OFFERED, OFFERED_VERSION = "sandboxd-tool", "1.2-1"
"""The package that the guest's own repository offers: a file and a configuration file."""
REPOSITORY = "usr/lib/small-packages"
CONTROL = f"""Package: {OFFERED}
Version: {OFFERED_VERSION}
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: something to install
"""
# What the small image's files are for here too; the others are Debian's own.
OWN_FILES = ("rc", "inittab", "dhcp", "acpi/PWRF/00000080", "ssh/sshd_config")


def python_image() -> Path:
    """The image's file (qcow2), built now unless it is in the cache; read it, never write it."""
    packages = [*image.boot_packages(), *PACKAGES]
    recipes = [Path(image.__file__), Path(__file__)]
    return image.cached("small-python", image.digest(packages, recipes), _build)


def _build(workshop: Path) -> Path:
    root = workshop / "root"
    run("mmdebstrap", *_options(), str(root), *sources(), limit_s=600)
    unpacked = image.unpacked_in(workshop, image.boot_packages())
    image.install_busybox(root / FIRST_PROGRAMS, unpacked)
    for link in ("bin/init", "sbin/poweroff", "sbin/reboot"):
        (root / "usr" / link).symlink_to(f"/{FIRST_PROGRAMS}/{Path(link).name}")
    for name in OWN_FILES:
        _take_over(root / "etc", name)
    shutil.copy(image.GUEST_FILES / "root" / "boot" / "extlinux.conf", root / "boot")
    offer(workshop / "offered", root)
    for key in (root / "etc" / "ssh").glob("ssh_host_*"):
        key.unlink()
    # Of the machine that built it.
    (root / "etc" / "resolv.conf").write_text("")
    (root / "etc" / "hostname").write_text("small-python\n")
    image.install_kernel(workshop / "initramfs", unpacked, root / "boot")
    return image.disk(workshop, root, DISK_MIB)


def _take_over(etc: Path, name: str) -> None:
    """Copy one of the small image's files, with busybox's programs after Debian's own."""
    target = etc / name
    target.parent.mkdir(parents=True, exist_ok=True)
    source = image.GUEST_FILES / "root" / "etc" / name
    shutil.copy(source, target)
    text = source.read_text()
    if text.startswith("#!/bin/sh\n"):
        path = f"PATH=/usr/sbin:/usr/bin:/{FIRST_PROGRAMS}\nexport PATH\n"
        target.write_text(text.replace("#!/bin/sh\n", f"#!/bin/sh\n{path}", 1))
    elif name == "inittab":
        for plain in ("acpid", "/bin/reboot", "/bin/umount"):
            text = text.replace(f":{plain}", f":/{FIRST_PROGRAMS}/{Path(plain).name}")
        target.write_text(text)


def offer(made: Path, root: Path) -> None:
    """Give the guest a repository of its own instead of the one that it was installed from."""
    (made / "DEBIAN").mkdir(parents=True)
    (made / "etc").mkdir()
    (made / "opt" / OFFERED).mkdir(parents=True)
    (made / "DEBIAN" / "control").write_text(CONTROL)
    (made / "DEBIAN" / "conffiles").write_text(f"/etc/{OFFERED}.conf\n")
    (made / "etc" / f"{OFFERED}.conf").write_text("level = 1\n")
    (made / "opt" / OFFERED / "run").write_text("#!/bin/sh\n")
    repository = root / REPOSITORY
    repository.mkdir()
    package = repository / f"{OFFERED}_{OFFERED_VERSION}_all.deb"
    run("dpkg-deb", "--build", "--root-owner-group", str(made), str(package))
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    found = f"Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n"
    (repository / "Packages").write_text(CONTROL + found)
    apt = root / "etc" / "apt"
    (apt / "sources.list").unlink(missing_ok=True)
    for file in (apt / "sources.list.d").iterdir():
        file.unlink()
    (apt / "sources.list").write_text(f"deb [trusted=yes] file:/{REPOSITORY} ./\n")


def _options() -> Iterator[str]:
    yield from ("--quiet", "--mode=root", "--variant=essential", "--format=directory")
    yield f"--include={','.join(PACKAGES)}"
    yield "--dpkgopt=force-unsafe-io"
    for name in UNREAD:
        yield f"--dpkgopt=path-exclude=/usr/share/{name}/*"
    yield '--aptopt=Apt::Install-Recommends "false"'
    yield platform.freedesktop_os_release()["VERSION_CODENAME"]


def sources() -> list[str]:
    """Where this machine's own packages come from, so that apt's index tells the versions."""
    return [path for path in SOURCES if Path(path).exists()]
