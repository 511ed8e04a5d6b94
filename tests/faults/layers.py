"""What must be true of disks in layers: files, records, definitions and marks tell the same."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import libvirt

from scheduler.hosts.domain_xml import DISK_TARGET
from scheduler.hosts.marks import ELEMENT
from scheduler.lifecycle import layers
from scheduler.model import Sandbox, SandboxState, SnapshotState, Volume, VolumeState
from tests.faults.books import Books, read_books
from tests.faults.disks import RealHost
from tests.fleet.furniture import FOREIGN_VOLUME, IMAGE
from tests.fleet.process import ProcessError

if TYPE_CHECKING:
    from tests.faults.cluster import Cluster


def layer_faults(cluster: Cluster, host: RealHost) -> Iterator[str]:
    """Yield what is not as it must be of the disks on a host, which has all sandboxes."""
    books = read_books(cluster.store_config)
    names = {one.name for one in books.volumes} | {IMAGE, FOREIGN_VOLUME}
    if host.files() != names:
        yield f"{host.name} has the files {sorted(host.files() ^ names)} more or less than listed"
    for sandbox in books.live.values():
        listed = [one for one in books.volumes if one.owner == sandbox.id]
        yield from _files(host, listed)
        yield from _points(books, sandbox, listed)
        with cluster.libvirt(host) as connection:
            domain = connection.lookupByUUIDString(sandbox.domain_uuid)
            yield from _domain(domain, sandbox, listed)


def live_layer(cluster: Cluster, sandbox_id: str) -> str:
    """The volume that takes a guest's writes, by the records."""
    listed = [one for one in read_books(cluster.store_config).volumes if one.owner == sandbox_id]
    found = layers.live(listed)
    assert found is not None, listed
    return found.name


def _files(host: RealHost, listed: Collection[Volume]) -> Iterator[str]:
    for name in layers.disks(listed):
        due = [*layers.chain(listed, name), IMAGE]
        try:
            found = host.chain(name)
        except ProcessError as error:
            yield f"{name} cannot be read: {error}"
            continue
        if found != due:
            yield f"{name} lies on {found}, by the records on {due}"


def _points(books: Books, sandbox: Sandbox, listed: Collection[Volume]) -> Iterator[str]:
    for volume in listed:
        if volume.state is not VolumeState.CREATED:
            yield f"{volume.name} is {volume.state}"
    for point in books.snapshots:
        due = layers.chain(listed, point.ref)
        if point.sandbox_id != sandbox.id or point.state is SnapshotState.FAILED:
            continue
        if point.state is not SnapshotState.READY:
            yield f"snapshot {point.name} is {point.state}"
        elif point.files != due or not set(due) <= layers.disks(listed).keys():
            yield f"snapshot {point.name} is of {point.files}, its point is read from {due}"


def _domain(
    domain: libvirt.virDomain, sandbox: Sandbox, listed: Collection[Volume]
) -> Iterator[str]:
    live = layers.live(listed)
    due = [*layers.chain(listed, live.name if live else ""), IMAGE]
    texts = [domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)]
    if sandbox.state is SandboxState.RUNNING:
        texts.append(domain.XMLDesc())
    for text in texts:
        if (found := _stated(text)) != due:
            yield f"the domain of {sandbox.id} is stated over {found}, not over {due}"
        mark = ElementTree.fromstring(text).findtext(f"metadata/{ELEMENT}")
        marked = json.loads(mark or "{}").get("volumes", {})
        if unmarked := {one.name for one in listed} - marked.keys():
            yield f"the mark of {sandbox.id} leaves out {sorted(unmarked)}"
        elif live and marked[live.name] != live.role.value:
            yield f"the mark of {sandbox.id} has another live layer than {live.name}"


def _stated(text: str) -> list[str]:
    """The files of the guest's disk by a definition, the live one first."""
    layer = ElementTree.fromstring(text).find(f"devices/disk/target[@dev='{DISK_TARGET}']/..")
    found = []
    while layer is not None:
        source = layer.find("source")
        if source is not None:
            found.append(PurePosixPath(source.get("file", "")).name)
        layer = layer.find("backingStore")
    return found
