"""The gate for golden images: what could make QEMU open another file is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import HostRefused
from scheduler.hosts.image_header import ImageHeader, read_image_header

GIB = 2**30


def qcow2(
    *,
    version: int = 3,
    backing: int = 0,
    capacity: int = GIB,
    encryption: int = 0,
    incompatible: int = 0,
) -> bytes:
    """Return a qcow2 header with a page of nothing after it."""
    fixed = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", version, backing, 0, 16, capacity, encryption,
        1, 2**16, 2**17, 1, 0, 0,
    )  # fmt: skip
    return fixed + struct.pack(">QQQII", incompatible, 0, 0, 4, 104) + bytes(4096)


@pytest.mark.parametrize("version", [2, 3])
def test_a_plain_qcow2_is_taken_with_its_size(version: int) -> None:
    assert read_image_header("i", qcow2(version=version)) == ImageHeader(
        format="qcow2", capacity=GIB
    )


@pytest.mark.parametrize("harmless", [1 << 0, 1 << 3, 1 << 4])
def test_features_that_name_no_file_are_taken(harmless: int) -> None:
    assert read_image_header("i", qcow2(incompatible=harmless)).format == "qcow2"


def test_version_two_has_no_feature_bits_to_judge() -> None:
    assert read_image_header("i", qcow2(version=2, incompatible=1 << 2)).format == "qcow2"


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (qcow2(backing=104), "backing file"),
        (qcow2(incompatible=1 << 2), "data file"),
        (qcow2(incompatible=1 << 1), "corrupt"),
        (qcow2(incompatible=1 << 5), "unknown features"),
        (qcow2(incompatible=1 << 63), "unknown features"),
        (qcow2(encryption=1), "encrypted"),
        (qcow2(encryption=2), "encrypted"),
        (qcow2(version=1), "unknown version 1"),
        (qcow2(version=4), "unknown version 4"),
        (qcow2(capacity=0), "not believable"),
        (qcow2(capacity=2**63), "not believable"),
        (qcow2()[:50], "cut short"),
        (qcow2()[:80], "cut short"),
        (b"QFI\xfb", "cut short"),
    ],
)
def test_a_qcow2_that_is_more_than_itself_is_refused(head: bytes, why: str) -> None:
    with pytest.raises(HostRefused, match=why) as caught:
        read_image_header("bad.img", head)
    assert "'bad.img'" in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    "head",
    [
        b"",
        bytes(4096),
        b"\xeb\x63\x90" + bytes(507) + b"\x55\xaa",
        bytes(32769) + b"CD001",
        b"QFI",
    ],
)
def test_what_is_no_known_format_is_raw(head: bytes) -> None:
    assert read_image_header("i", head) == ImageHeader(format="raw", capacity=None)


@pytest.mark.parametrize(
    ("offset", "magic", "kind"),
    [
        (0, b"QED\0", "QED"),
        (0, b"KDMV", "VMDK"),
        (0, b"COWD", "VMDK"),
        (0, b"# Disk DescriptorFile\n", "VMDK"),
        (0, b"conectix", "VHD"),
        (0, b"vhdxfile", "VHDX"),
        (64, b"\x7f\x10\xda\xbe", "VDI"),
        (0, b"LUKS\xba\xbe", "LUKS"),
        (0, b"WithoutFreeSpace", "Parallels"),
        (0, b"WithouFreSpacExt", "Parallels"),
        (0, b"Bochs Virtual HD Image", "Bochs"),
        (0, b"#!/bin/sh\n#V2.0 Format\n", "cloop"),
        (0, b"OOOM", "COW"),
    ],
)
def test_a_foreign_format_is_not_taken_for_raw(offset: int, magic: bytes, kind: str) -> None:
    with pytest.raises(HostRefused, match=kind):
        read_image_header("i", bytes(offset) + magic + bytes(512))


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_taken_or_refused_and_never_worse(tail: bytes, magic: bool) -> None:
    head = b"QFI\xfb" + tail if magic else tail
    try:
        header = read_image_header("i", head)
    except HostRefused:
        return
    assert header.format in ("qcow2", "raw")
    assert (header.capacity is None) == (header.format == "raw")
