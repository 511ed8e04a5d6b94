"""Volumes through libvirt's storage API: nothing is run on the host and no path is made up.

Every function is blocking, gets the pool's name and works within one hop. Making and deleting hold
the pool's lock (the caller's), because a refresh fails while any volume is being built; a copy of a
whole disk takes too long for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import libvirt
from lxml import etree

from scheduler.errors import HostRefused
from scheduler.hosts.descriptions import VolumeDescription, describe_volume
from scheduler.hosts.failures import Failure, ObjectAbsent, meaning
from scheduler.hosts.handles import Handle
from scheduler.hosts.image_header import (
    CAPACITY_LIMIT_BYTES,
    HEADER_BYTES,
    read_image_header,
)
from scheduler.hosts.plans import BaseImage, NewReplica
from scheduler.model.observations import ObservedVolume

_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVolume:
    """A volume to make; sizes in bytes."""

    name: str
    format: str
    capacity: int
    backing_path: str | None = None
    backing_format: str | None = None

    def xml(self) -> str:
        """Return libvirt's description of it, every format stated."""
        volume = etree.Element("volume")
        _add(volume, "name", self.name)
        _add(volume, "capacity", str(self.capacity), unit="bytes")
        _add(volume, "allocation", "0", unit="bytes")
        target = _add(volume, "target")
        _add(target, "format", type=self.format)
        if self.backing_path is not None and self.backing_format is not None:
            backing = _add(volume, "backingStore")
            _add(backing, "path", self.backing_path)
            _add(backing, "format", type=self.backing_format)
        return etree.tostring(volume, encoding="unicode")


def start_pool(handle: Handle, pool_name: str) -> None:
    """Start the pool when it is inactive."""
    pool = handle.conn.storagePoolLookupByName(pool_name)
    if not pool.isActive():
        pool.create(0)


def refresh(handle: Handle, pool_name: str) -> None:
    """Refresh the pool; one that is inactive, or that a failed refresh stopped, is started."""
    pool = handle.conn.storagePoolLookupByName(pool_name)
    if not pool.isActive():
        pool.create(0)
        return  # starting reads the directory as a refresh does
    try:
        pool.refresh(0)
    except libvirt.libvirtError:
        if not pool.isActive():
            pool.create(0)
            return
        raise


def find_volume(handle: Handle, pool_name: str, name: str) -> ObservedVolume | None:
    """Return the volume; None when the host says that there is none."""
    found = _describe(_pool(handle, pool_name), name)
    return None if found is None else found.volume


def inspect_base(handle: Handle, pool_name: str, name: str) -> BaseImage:
    """Return the golden image as its header tells, or refuse it."""
    pool = _pool(handle, pool_name)
    found = _describe(pool, name) if name.isprintable() else None
    if found is None:
        raise ObjectAbsent(
            f"there is no image {name!r} in the pool {pool_name!r}",
            remedy="put it into the pool's directory and refresh the pool, or name another",
            details={"image": name, "pool": pool_name},
        )
    volume = found.volume
    image_format, capacity = volume.format or "raw", volume.capacity
    if handle.abilities.streams:
        header = read_image_header(name, _head(handle, pool.storageVolLookupByName(name)))
        image_format, capacity = header.format, header.capacity or capacity
    _check_base(volume, image_format, capacity)
    return BaseImage(
        name=name,
        path=volume.path,
        format=image_format,
        capacity=capacity,
        physical=volume.physical,
        modified=found.modified,
    )


def create_overlay(
    handle: Handle, pool_name: str, name: str, base: BaseImage, capacity: int
) -> None:
    """Make a qcow2 overlay over `base`; an equal one is left as it is, a torn one made anew."""
    if capacity < base.capacity:
        raise HostRefused(
            f"a disk of {capacity} bytes is smaller than its image {base.name!r}"
            f" of {base.capacity} bytes",
            remedy=f"ask for at least {-(-base.capacity // 2**20)} MiB of storage",
            details={"capacity": capacity, "image_capacity": base.capacity},
        )
    pool = _pool(handle, pool_name)
    wanted = NewVolume(
        name=name,
        format="qcow2",
        capacity=capacity,
        backing_path=base.path,
        backing_format=base.format,
    )
    found = _describe(pool, name)
    if found is not None and _torn(found):
        delete_volume(handle, pool_name, name)
        found = None
    if found is None:
        found = _create(pool, wanted)
    if found.volume.capacity != capacity or found.volume.backing != base.path:
        raise HostRefused(
            f"the pool {pool_name!r} holds another volume {name!r}",
            remedy="look at it on the host; it is not the clone that was asked for",
            details={"volume": name, "backing": found.volume.backing},
        )


def create_layer(handle: Handle, pool_name: str, name: str, on: str) -> None:
    """Make an empty layer on one of our volumes; an equal one is fine, a torn one made anew."""
    pool = _pool(handle, pool_name)
    below = _describe(pool, on)
    if below is None:
        raise ObjectAbsent(
            f"the layer {on!r} is not in the pool {pool_name!r} any more",
            remedy="somebody removed it from its host; what lay on it is lost",
            details={"volume": on, "pool": pool_name},
        )
    image = BaseImage(
        name=on,
        path=below.volume.path,
        format="qcow2",
        capacity=below.volume.capacity,
        physical=below.volume.physical,
    )
    create_overlay(handle, pool_name, name, image, below.volume.capacity)


def create_seed(handle: Handle, pool_name: str, name: str, iso: bytes) -> bool:
    """Make a raw volume of these bytes, over what a torn try left; False without streams."""
    if not handle.abilities.streams:
        return False
    pool = _pool(handle, pool_name)
    found = _describe(pool, name)
    if found is not None and found.volume.capacity != len(iso):
        delete_volume(handle, pool_name, name)
        found = None
    if found is None:
        _create(pool, NewVolume(name=name, format="raw", capacity=len(iso)))
    _upload(handle, pool.storageVolLookupByName(name), iso)
    return True


def create_replica(handle: Handle, pool_name: str, name: str, image: NewReplica) -> bool:
    """Make an empty volume for an image, in place of any that is there; False without streams.

    It is raw and of the file's size until the image's own bytes say what it is.
    """
    delete_volume(handle, pool_name, name)
    pool = _pool(handle, pool_name)
    if handle.abilities.streams:
        _create(pool, NewVolume(name=name, format="raw", capacity=image.size))
    else:
        _create(pool, NewVolume(name=name, format=image.format, capacity=image.capacity))
    return handle.abilities.streams


def flatten_volume(handle: Handle, pool_name: str, source: str, name: str) -> None:
    """Copy a volume with all its layers into one qcow2 volume.

    It is the host's storage driver that copies, so nothing goes over the network.
    """
    pool = _pool(handle, pool_name)
    found = _describe(pool, source)
    if found is None:
        raise ObjectAbsent(f"there is no volume {source!r} in the pool {pool_name!r}")
    wanted = NewVolume(name=name, format="qcow2", capacity=found.volume.capacity)
    pool.createXMLFrom(wanted.xml(), pool.storageVolLookupByName(source), 0)


def write_part(handle: Handle, pool_name: str, name: str, offset: int, content: bytes) -> None:
    """Write `content` at `offset` of a volume's file."""
    volume = _pool(handle, pool_name).storageVolLookupByName(name)
    _upload(handle, volume, content, offset)


def read_part(handle: Handle, pool_name: str, name: str, offset: int, length: int) -> bytes | None:
    """Return at most `length` bytes of a volume's file from `offset`; None without streams."""
    if not handle.abilities.streams:
        return None
    return _download(handle, _pool(handle, pool_name).storageVolLookupByName(name), offset, length)


def delete_volume(handle: Handle, pool_name: str, name: str) -> None:
    """Delete the volume; one that is gone already is fine."""
    pool = _pool(handle, pool_name)
    try:
        pool.storageVolLookupByName(name).delete(0)
    except libvirt.libvirtError as error:
        if meaning(error) is not Failure.ABSENT:
            raise


def all_absent(handle: Handle, pool_name: str, names: Sequence[str]) -> bool:
    """Return whether a refreshed pool holds none of these; raises when it cannot be refreshed."""
    refresh(handle, pool_name)
    pool = _pool(handle, pool_name)
    return all(_describe(pool, name) is None for name in names)


def _pool(handle: Handle, pool_name: str) -> libvirt.virStoragePool:
    pool = handle.conn.storagePoolLookupByName(pool_name)
    if not pool.isActive():
        raise HostRefused(
            f"the pool {pool_name!r} is not active",
            remedy="it is started again by itself; look at its directory on the host",
            details={"pool": pool_name},
        )
    return pool


def _describe(pool: libvirt.virStoragePool, name: str) -> VolumeDescription | None:
    try:
        return describe_volume(pool.storageVolLookupByName(name).XMLDesc(0))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
            return None
        raise


def _create(pool: libvirt.virStoragePool, wanted: NewVolume) -> VolumeDescription:
    """Make the volume; when a twin was faster, its result is the answer."""
    try:
        pool.createXML(wanted.xml(), 0)
    except libvirt.libvirtError:
        found = _describe(pool, wanted.name)
        if found is None:
            raise
        return found
    made = _describe(pool, wanted.name)
    if made is None:
        raise ObjectAbsent(f"the new volume {wanted.name!r} is gone already")
    return made


def _torn(found: VolumeDescription) -> bool:
    """Return whether this is what a host leaves that died while building one of our overlays."""
    return found.volume.format != "qcow2" or found.volume.backing is None


def _check_base(volume: ObservedVolume, image_format: str, capacity: int) -> None:
    why = None
    if image_format not in ("qcow2", "raw"):
        why = f"its format is {image_format}"
    elif volume.backing is not None:
        why = "it depends on another file"
    elif not 0 < capacity <= CAPACITY_LIMIT_BYTES:
        why = f"its size of {capacity} bytes is not believable"
    if why is not None:
        raise HostRefused(
            f"image {volume.name!r} cannot be cloned: {why}",
            remedy="convert it on a machine you trust: qemu-img convert -O qcow2 OLD NEW",
            details={"image": volume.name},
        )


def _head(handle: Handle, volume: libvirt.virStorageVol) -> bytes:
    return _download(handle, volume, 0, HEADER_BYTES)


def _download(handle: Handle, volume: libvirt.virStorageVol, offset: int, length: int) -> bytes:
    stream = handle.conn.newStream(0)
    try:
        volume.download(stream, offset, length, 0)
        head = bytearray()
        while chunk := stream.recv(_CHUNK_BYTES):
            head += chunk
        stream.finish()
    except BaseException:
        _abort(stream)
        raise
    return bytes(head)


def _upload(handle: Handle, volume: libvirt.virStorageVol, content: bytes, offset: int = 0) -> None:
    stream = handle.conn.newStream(0)
    try:
        volume.upload(stream, offset, len(content), 0)
        view = memoryview(content)
        while view:
            sent = stream.send(bytes(view[:_CHUNK_BYTES]))
            view = view[sent:]
        stream.finish()
    except BaseException:
        _abort(stream)
        raise


def _abort(stream: libvirt.virStream) -> None:
    try:
        stream.abort()
    except libvirt.libvirtError:
        return  # it was never begun, or its connection is lost


def _add(
    parent: etree._Element, tag: str, text: str | None = None, **attributes: str
) -> etree._Element:
    element = etree.SubElement(parent, tag, attributes)
    element.text = text
    return element
