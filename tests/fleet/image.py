"""The small guest image: Debian's cloud kernel, busybox and sshd on 128 MiB, up in seconds.

Built from packages that are downloaded and unpacked but not installed, and from this machine's own
sshd with its libraries; the guest's own files stand in `guest/` as they will be found inside.
Built once per content: the cached file's name is a digest of all that goes into it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fleet.process import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CACHE_VARIABLE = "SANDBOXD_TEST_CACHE"
DISK_MIB = 128
GUEST_FILES = Path(__file__).with_name("guest")
KERNEL = "linux-image-cloud-amd64"
BUSYBOX = "busybox-static"
# In the order of need; what they need in turn comes with them.
DRIVERS = (
    *("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio-rng"),
    *("isofs", "button", "evdev"),
)
# Later releases split sshd in three.
PROGRAMS = (
    *("/usr/sbin/sshd", "/usr/bin/ssh-keygen"),
    *("/usr/lib/openssh/sshd-session", "/usr/lib/openssh/sshd-auth"),
)
EMPTY_DIRECTORIES = ("dev", "proc", "sys", "run", "tmp", "mnt", "root", "var/log", "var/empty")
# extlinux reads ext4 only in its older form.
MKFS = ("mkfs.ext4", "-q", "-b", "4096", "-O", "^64bit,^metadata_csum", "-L", "small-root")
INSTALL_BOOT_LOADER = 'mount -o loop "$1" "$2" && extlinux --install "$2/boot" && umount "$2"'


def small_image() -> Path:
    """The image's file (qcow2), built now unless it is in the cache; read it, never write it."""
    return cached("small", digest(boot_packages(), [Path(__file__)]), _build)


def boot_packages() -> list[str]:
    """The kernel's package and busybox's, of which every image takes what boots it."""
    return [_installed_by(KERNEL), BUSYBOX]


def cached(name: str, content: str, build: Callable[[Path], Path]) -> Path:
    """The image of this name and content, which `build` makes in a workshop if need be."""
    cache = _cache()
    image = cache / f"{name}-{content}.qcow2"
    with _locked(cache / "lock"):
        if not image.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as workshop:
                build(Path(workshop)).rename(image)
    return image


def busybox() -> Path:
    """The guest's own busybox, to run on this machine what its shell and tools must understand."""
    cache = _cache()
    program = cache / f"busybox-{digest([BUSYBOX], [])}"
    with _locked(cache / "lock"):
        if not program.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as workshop:
                (unpacked_in(Path(workshop), [BUSYBOX]) / "bin" / "busybox").rename(program)
    return program


def _cache() -> Path:
    default = Path(tempfile.gettempdir()) / "sandboxd-test-cache"
    cache = Path(os.environ.get(CACHE_VARIABLE, default)).absolute()
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    if cache.stat().st_uid != os.getuid():
        raise PermissionError(f"{cache} belongs to somebody else; set {CACHE_VARIABLE}")
    return cache


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest(packages: Iterable[str], recipes: Iterable[Path]) -> str:
    """What an image is named by: its packages' versions, the guest's files, and how it is built."""
    digest = hashlib.sha256(run("apt-cache", "show", "--no-all-versions", *packages).encode())
    own = [*recipes, *sorted(path for path in GUEST_FILES.rglob("*") if path.is_file())]
    for path in [*own, *_program_files()]:
        digest.update(f"{path.name} {path.stat().st_mode:o} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _installed_by(metapackage: str) -> str:
    """The package with this kernel's version in its name, on which the metapackage depends."""
    found = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", metapackage))
    if found is None:
        raise FileNotFoundError(f"apt does not know {metapackage}; run: apt-get update")
    return found[1]


def _program_files() -> list[Path]:
    """The programs that the guest takes from this machine, and every library they load."""
    programs = [program for program in PROGRAMS if Path(program).exists()]
    libraries = re.findall(r"(/\S+) \(0x", run("ldd", *programs))
    return [Path(path) for path in (*programs, *sorted(set(libraries)))]


def _build(workshop: Path) -> Path:
    unpacked = unpacked_in(workshop, boot_packages())
    root = workshop / "root"
    _lay_out_root(root, unpacked)
    install_kernel(workshop / "initramfs", unpacked, root / "boot")
    return disk(workshop, root, DISK_MIB)


def unpacked_in(workshop: Path, packages: Iterable[str]) -> Path:
    """A directory with these packages' files, of which no script was run."""
    downloads, unpacked = workshop / "packages", workshop / "unpacked"
    downloads.mkdir()
    # apt's own sandbox user may not enter this directory.
    run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *packages, cwd=downloads)
    for package in downloads.iterdir():
        run("dpkg-deb", "-x", str(package), str(unpacked))
    return unpacked


def _lay_out_root(root: Path, unpacked: Path) -> None:
    shutil.copytree(GUEST_FILES / "root", root)
    for name in EMPTY_DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "root").chmod(0o700)
    (root / "etc" / "shadow").chmod(0o600)
    install_busybox(root / "bin", unpacked)
    for path in _program_files():
        copy = root / path.relative_to("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)


def install_busybox(directory: Path, unpacked: Path) -> None:
    """Put busybox and a link for each of its programs into a new directory."""
    busybox = directory / "busybox"
    busybox.parent.mkdir(parents=True)
    shutil.copy(unpacked / "bin" / "busybox", busybox)
    for applet in run(str(busybox), "--list").split():
        if applet != "busybox":
            busybox.with_name(applet).symlink_to("busybox")


def install_kernel(tree: Path, unpacked: Path, boot: Path) -> None:
    """Put the kernel and an initramfs made in `tree` into an image's boot directory."""
    (kernel,) = (unpacked / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, boot / "vmlinuz")
    _pack_initramfs(tree, unpacked, boot / "initrd")


def _pack_initramfs(tree: Path, unpacked: Path, archive: Path) -> None:
    shutil.copytree(GUEST_FILES / "initramfs", tree)
    for name in ("dev", "proc", "root", "lib/modules"):
        (tree / name).mkdir(parents=True)
    install_busybox(tree / "bin", unpacked)
    modules = _modules_in_order(unpacked)
    for module in modules:
        shutil.copy(module, tree / "lib" / "modules")
    order = "".join(f"{module.name}\n" for module in modules)
    (tree / "lib" / "modules" / "order").write_text(order)
    pack = 'find . | cpio --quiet --create --format=newc --owner=0:0 | gzip -1 >"$1"'
    run("sh", "-c", pack, "-", str(archive), cwd=tree)


def _modules_in_order(unpacked: Path) -> list[Path]:
    """The drivers' files, each after those it needs."""
    (directory,) = (unpacked / "lib" / "modules").iterdir()
    run(str(unpacked / "bin" / "busybox"), "depmod", "-b", str(unpacked), directory.name)
    needs = dict(line.split(":") for line in (directory / "modules.dep").read_text().splitlines())
    ordered: dict[Path, None] = {}
    for driver in DRIVERS:
        (file,) = (name for name in needs if Path(name).stem == driver)
        # modules.dep states what is needed last first.
        for name in (*reversed(needs[file].split()), file):
            ordered.setdefault(directory / name)
    return list(ordered)


def disk(workshop: Path, root: Path, mib: int) -> Path:
    """A bootable disk (qcow2) of so many MiB with these files."""
    raw, image, mount = (workshop / name for name in ("raw", "small.qcow2", "mount"))
    mount.mkdir()
    run(*MKFS, "-d", str(root), str(raw), f"{mib}M")
    # The mount cannot outlive the namespace it is made in.
    run("unshare", "-m", "sh", "-ec", INSTALL_BOOT_LOADER, "-", str(raw), str(mount))
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image))
    return image
