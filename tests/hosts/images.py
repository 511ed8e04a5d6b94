"""Disk images for tests: sound ones made by qemu-img, hostile ones made by hand."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from tests.fleet.process import RUN_LIMIT_S

MIB = 2**20
CLUSTER = 2**16
SECRET = "/etc/passwd"


def sound(path: Path, size_mb: int = 16, image_format: str = "qcow2") -> Path:
    """Make a small image that holds some bytes of a guest."""
    raw = path.with_suffix(".tmp")
    raw.write_bytes(b"\xeb\x3c\x90guest" + bytes(range(256)) * 1024)
    with raw.open("r+b") as file:
        file.truncate(size_mb * MIB)
    _qemu_img("convert", "-f", "raw", "-O", image_format, str(raw), str(path))
    raw.unlink()
    return path


def content_of(path: Path) -> bytes:
    """Return an image's bytes."""
    return path.read_bytes()


def with_backing_file(path: Path) -> Path:
    """An overlay of a file of the machine that reads it."""
    return _named(_header(path), at=CLUSTER - 64, name=SECRET, offset_field=8, length_field=16)


def with_data_file(path: Path) -> Path:
    """An image that would keep its data in a file of its choice, and so truncate that."""
    raw = path.with_suffix(".data")
    _qemu_img("create", "-f", "qcow2", "-o", f"data_file={raw},data_file_raw=on", str(path), "16M")
    return path


def with_hidden_data_file(path: Path) -> Path:
    """The same, denying it in the feature bits that our own reader looks at."""
    with_data_file(path)
    with path.open("r+b") as file:
        file.seek(72)
        (features,) = struct.unpack(">Q", file.read(8))
        file.seek(72)
        file.write(struct.pack(">Q", features & ~4))
    return path


def encrypted(path: Path) -> Path:
    """An image of which nobody here has the key.

    By AES, whose key is the passphrase: for LUKS qemu-img 7.2 counts how many rounds take it a
    second, and gives up ("Unable to get accurate CPU usage") where a thread's clock is coarse.
    """
    secret = "secret,id=s,data=topsecret"
    options = "encrypt.format=aes,encrypt.key-secret=s"
    _qemu_img("create", "-f", "qcow2", "--object", secret, "-o", options, str(path), "16M")
    return path


def encrypted_with_luks(path: Path) -> Path:
    """The same, saying LUKS in its header, of which there are no keys."""
    encrypted(path)
    with path.open("r+b") as file:
        file.seek(32)
        file.write(struct.pack(">I", 2))
    return path


def bomb(path: Path) -> Path:
    """A few kilobytes that are a disk of 60 TiB."""
    _qemu_img("create", "-f", "qcow2", str(path), "60T")
    return path


def truncated(path: Path) -> Path:
    """An image of which the second half is missing."""
    sound(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 // CLUSTER * CLUSTER)
    return path


def header_only(path: Path) -> Path:
    """The first bytes of an image and nothing else."""
    sound(path)
    path.write_bytes(path.read_bytes()[:60])
    return path


def corrupt(path: Path) -> Path:
    """An image whose first table points into its own header."""
    sound(path)
    with path.open("r+b") as file:
        file.seek(40)
        (table,) = struct.unpack(">Q", file.read(8))
        file.seek(table)
        file.write(struct.pack(">Q", (1 << 63) | CLUSTER))
    return path


def greedy(path: Path) -> Path:
    """An image whose table of tables would need more memory than a machine has."""
    _header(path)
    with path.open("r+b") as file:
        file.seek(36)
        file.write(struct.pack(">I", 2**31 - 1))
    return path


def vmdk(path: Path) -> Path:
    """A format that names other files by design."""
    path.write_text(f'# Disk DescriptorFile\nversion=1\nRW 2048 FLAT "{SECRET}" 0\n')
    return path


def odd(path: Path) -> Path:
    """Bytes that are no whole number of sectors."""
    path.write_bytes(b"\x01" * 1000)
    return path


def empty(path: Path) -> Path:
    """No bytes at all."""
    path.write_bytes(b"")
    return path


HOSTILE = (
    with_backing_file,
    with_data_file,
    with_hidden_data_file,
    encrypted,
    encrypted_with_luks,
    bomb,
    truncated,
    header_only,
    corrupt,
    greedy,
    vmdk,
    odd,
    empty,
)


def _header(path: Path) -> Path:
    _qemu_img("create", "-f", "qcow2", str(path), "16M")
    return path


def _named(path: Path, *, at: int, name: str, offset_field: int, length_field: int) -> Path:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(name.encode())
        file.seek(offset_field)
        file.write(struct.pack(">Q", at))
        file.seek(length_field)
        file.write(struct.pack(">I", len(name)))
    return path


def _qemu_img(*arguments: str) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True, timeout=RUN_LIMIT_S)
