"""Images of source VMs: asked for by name, found as the newest that may be built from."""

from __future__ import annotations

from datetime import datetime

from scheduler import ids
from scheduler.errors import Conflict
from scheduler.model import Image, ImageState, SourceVM
from scheduler.service.images import image_event
from scheduler.service.requests import CreateSandbox
from scheduler.service.source_reports import SourceReport
from scheduler.sources.preparations import from_json
from scheduler.store import Transaction

_NAME_CHARACTERS = 40


def copy_volume(image_id: str) -> str:
    """Return the name of the volume that holds a machine's disk until it is taken in."""
    return f"{image_id.lower()}-frozen.qcow2"


def image_name(machine: str, now: datetime) -> str:
    """Return what to call an image that nobody named: the machine's name and the time."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in machine.lower())
    stem = plain.strip("-")[:_NAME_CHARACTERS].rstrip("-") or "source"
    return f"{stem}-{now:%Y%m%d-%H%M%S}"


def add_image(
    tx: Transaction, report: SourceReport, host_id: str, name: str, *, actor: str, now: datetime
) -> Image:
    """Record that an image of a machine is wanted; `AlreadyExists` for a name in use."""
    image_id = ids.new_id(ids.Prefix.IMAGE)
    title = f"{report.host_name}/{report.name}"
    image = Image(
        id=image_id,
        name=name,
        state=ImageState.FREEZING,
        source_host_id=host_id,
        source_volume=copy_volume(image_id),
        source_vm=title,
        actor=actor,
        created_at=now,
        updated_at=now,
    )
    tx.images.add(image)
    message = f"of source VM {title}"
    tx.events.add(image_event("image.taken", image, message, at=now, actor=actor, host=host_id))
    return image


def known_source(tx: Transaction, reference: str) -> SourceVM:
    """Return the source VM of `HOST/NAME`, or of a name that only one host has."""
    host, slash, name = reference.partition("/")
    return tx.source_vms.by_name(name, host) if slash else tx.source_vms.by_name(host)


def newest_image(tx: Transaction, reference: str) -> Image:
    """Return the newest image of a source VM that may be built from; `Conflict` without any."""
    source = known_source(tx, reference)
    title = f"{source.host_name}/{source.name}"
    images = [image for image in tx.images.all() if image.source_vm == title]
    usable = [image for image in images if image.usable]
    if usable:
        return max(usable, key=lambda image: (image.created_at, image.id))
    coming = next((image for image in reversed(images) if image.reason is None), None)
    if coming is not None:
        raise Conflict(
            f"the image {coming.name} of source VM {title} is {coming.state} still",
            remedy=f"wait for it: sandboxctl image show {coming.name}",
            details={"image": coming.name, "state": coming.state.value},
        )
    raise Conflict(
        f"there is no image of source VM {title} to clone",
        remedy="freeze one, while it is shut down: "
        f"sandboxctl source freeze {source.host_name} {source.name}",
    )


def clone_of(request: CreateSandbox, tx: Transaction) -> tuple[Image, SourceVM]:
    """Return what a sandbox is to be cloned from; `Conflict` where it could not be what it asks."""
    source = known_source(tx, request.source_vm or "")
    image = newest_image(tx, f"{source.host_name}/{source.name}")
    preparation = from_json(source.prepare_json)
    if request.remove_secrets and (preparation is None or not preparation.cloud_init):
        raise Conflict(
            f"source VM {source.host_name}/{source.name} has no cloud-init, which alone could "
            "remove its secrets at a clone's first boot",
            remedy="install it there, prepare it again and freeze it anew; or leave "
            "remove_secrets out and remove them yourself",
        )
    return image, source
