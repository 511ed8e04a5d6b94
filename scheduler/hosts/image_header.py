"""The gate every golden image passes: what its first bytes say, judged before QEMU sees it.

A qcow2 header can name any file of the host as backing or data file, and a raw image that starts
like another format is read as that format by whoever guesses. Both are refused here; pure.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.errors import HostRefused

HEADER_BYTES = 2**20
"""How much of an image is looked at."""
CAPACITY_LIMIT_BYTES = 64 * 2**40
"""The largest virtual size that is believed."""

_QCOW2_MAGIC = b"QFI\xfb"
_QCOW2_VERSIONS = (2, 3)
_QCOW2_FIXED = struct.Struct(">4sIQIIQI")
_FEATURES = struct.Struct(">QQQ")
_FEATURES_OFFSET = 72
_DIRTY, _CORRUPT, _DATA_FILE = 1 << 0, 1 << 1, 1 << 2
_COMPRESSION, _EXTENDED_L2 = 1 << 3, 1 << 4
_KNOWN_FEATURES = _DIRTY | _CORRUPT | _DATA_FILE | _COMPRESSION | _EXTENDED_L2

_FOREIGN_MAGICS: Mapping[str, tuple[int, bytes]] = {
    "QED": (0, b"QED\0"),
    "VMDK": (0, b"KDMV"),
    "VMDK (ESX)": (0, b"COWD"),
    "VMDK (descriptor)": (0, b"# Disk DescriptorFile"),
    "VHD": (0, b"conectix"),
    "VHDX": (0, b"vhdxfile"),
    "VDI": (0x40, b"\x7f\x10\xda\xbe"),
    "LUKS": (0, b"LUKS\xba\xbe"),
    "Parallels": (0, b"WithoutFreeSpace"),
    "Parallels (extended)": (0, b"WithouFreSpacExt"),
    "Bochs": (0, b"Bochs Virtual HD Image"),
    "cloop": (0, b"#!/bin/sh\n#V2.0 Format\n"),
    "COW": (0, b"OOOM"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """An image that may be cloned; `capacity` in bytes, None where only the file's size tells."""

    format: str
    capacity: int | None


def read_image_header(name: str, head: bytes) -> ImageHeader:
    """Return what the image's first bytes say; raises HostRefused for what must not be cloned."""
    if head.startswith(_QCOW2_MAGIC):
        return _read_qcow2(name, head)
    for kind, (offset, magic) in _FOREIGN_MAGICS.items():
        if head[offset : offset + len(magic)] == magic:
            raise _refusal(name, f"it is in the format {kind}")
    return ImageHeader(format="raw", capacity=None)


def _read_qcow2(name: str, head: bytes) -> ImageHeader:
    if len(head) < _FEATURES_OFFSET:
        raise _refusal(name, "its qcow2 header is cut short")
    _, version, backing, _, _, capacity, encryption = _QCOW2_FIXED.unpack_from(head)
    if version not in _QCOW2_VERSIONS:
        raise _refusal(name, f"it is qcow2 of the unknown version {version}")
    if backing:
        raise _refusal(name, "it depends on another file (a qcow2 backing file)")
    if encryption:
        raise _refusal(name, "it is encrypted")
    if not 0 < capacity <= CAPACITY_LIMIT_BYTES:
        raise _refusal(name, f"its virtual size of {capacity} bytes is not believable")
    if version > _QCOW2_VERSIONS[0]:
        _check_features(name, head)
    return ImageHeader(format="qcow2", capacity=capacity)


def _check_features(name: str, head: bytes) -> None:
    if len(head) < _FEATURES_OFFSET + _FEATURES.size:
        raise _refusal(name, "its qcow2 header is cut short")
    incompatible, _, _ = _FEATURES.unpack_from(head, _FEATURES_OFFSET)
    if incompatible & _DATA_FILE:
        raise _refusal(name, "it keeps its data in another file (a qcow2 data file)")
    if incompatible & _CORRUPT:
        raise _refusal(name, "it is marked as corrupt")
    if incompatible & ~_KNOWN_FEATURES:
        raise _refusal(name, f"it uses unknown features ({incompatible:#x})")


def _refusal(name: str, why: str) -> HostRefused:
    return HostRefused(
        f"image {name!r} cannot be cloned: {why}",
        remedy="convert it on a machine you trust: qemu-img convert -O qcow2 OLD NEW",
        details={"image": name},
    )
