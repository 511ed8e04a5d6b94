"""image: golden images, taken in by upload or from a pool, and brought to hosts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from scheduler.cli.completion import complete_hosts, complete_images
from scheduler.cli.deadlines import Deadline
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.cli.options import (
    PAIR,
    dry_run_option,
    given,
    host_argument,
    wait_options,
    yes_option,
)
from scheduler.cli.paths import segment
from scheduler.cli.session import Session, Verb
from scheduler.cli.views import images

Document = dict[str, Any]

CHUNK_BYTES = 2**20
WAIT_SECONDS = 20.0
_REMEDIES = (
    "convert it on a machine you trust: qemu-img convert -O qcow2 OLD NEW",
    "put that right, and freeze it again: sandboxctl source freeze",
)
_BUSY = ("wanted", "copying", "removing")


@click.group()
def image() -> None:
    """Golden images that the control node keeps and brings to hosts."""


_image_argument = click.argument("reference", metavar="IMAGE", shell_complete=complete_images)


@image.command("list", cls=Verb)
@click.option("--state", help="Only images in this state, such as READY.")
def list_(session: Session, *, state: str | None) -> None:
    """List images, newest first."""
    query = given(state=state.upper() if state else None)
    session.printer.many(session.client.items("/v1/images", query), images.view(session.now()))


@image.command(cls=Verb)
@_image_argument
def show(session: Session, *, reference: str) -> None:
    """Show IMAGE: its digest, which hosts hold it, who was made from it."""
    found = dict(session.client.get(_path(reference)))
    session.printer.drawing(found, [found["name"]], lambda printer: images.draw(printer, found))


@image.command(cls=Verb)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="What to call it; the file's name unless given.")
@wait_options
def upload(
    session: Session, *, file: Path, name: str | None, no_wait: bool, timeout_seconds: int | None
) -> None:
    """Take in FILE, a qcow2 or raw disk image, and check that it may be cloned.

    An upload that broke off goes on where it was when the command is repeated.
    """
    deadline = Deadline(timeout_seconds)
    size = file.stat().st_size
    digest = _digest_of(session, file, size)
    body = {"name": name or file.name, "digest": digest, "size_bytes": size}
    taken = dict(session.client.post("/v1/images", body))
    if taken["state"] == "RECEIVING":
        taken = _send(session, file, taken)
    follow_image(session, taken, deadline, no_wait=no_wait)


@image.command(cls=Verb)
@host_argument()
@click.argument("volume", metavar="VOLUME")
@click.option("--as", "called", metavar="NAME", help="What to call it; as the volume unless given.")
@wait_options
def take(
    session: Session,
    *,
    name: str,
    volume: str,
    called: str | None,
    no_wait: bool,
    timeout_seconds: int | None,
) -> None:
    """Take in VOLUME of HOST's pool, which nobody may be writing to."""
    body = {"name": called or volume, "host": name, "volume": volume}
    taken = dict(session.client.post("/v1/images", body))
    follow_image(session, taken, Deadline(timeout_seconds), no_wait=no_wait)


@image.command(cls=Verb)
@_image_argument
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="Only this host; may be repeated.",
    shell_complete=complete_hosts,
)
@click.option("--select", "selector", type=PAIR, multiple=True, help="Only hosts with this label.")
@wait_options
def prefetch(
    session: Session,
    *,
    reference: str,
    hosts: tuple[str, ...],
    selector: tuple[tuple[str, str], ...],
    no_wait: bool,
    timeout_seconds: int | None,
) -> None:
    """Bring IMAGE to hosts before anybody asks for it; it stays there until it is evicted."""
    body = given(hosts=list(hosts) or None, host_selector=dict(selector) or None)
    wanted = dict(session.client.post(f"{_path(reference)}/prefetch", body))
    follow_image(session, wanted, Deadline(timeout_seconds), no_wait=no_wait)


@image.command(cls=Verb)
@_image_argument
@host_argument()
def evict(session: Session, *, reference: str, name: str) -> None:
    """Remove IMAGE from HOST; refused while sandboxes there were made from it."""
    left = dict(session.client.delete(f"{_path(reference)}/replicas/{segment(name)}"))
    session.printer.one(left, images.view(session.now()))


@image.command(cls=Verb)
@_image_argument
@dry_run_option
@yes_option
def delete(session: Session, *, reference: str, dry_run: bool, yes: bool) -> None:
    """Remove IMAGE and every replica; refused while sandboxes made from it live."""
    if dry_run:
        found = dict(session.client.delete(_path(reference), dry_run=True))
        session.printer.drawing(found, [found["name"]], lambda printer: images.draw(printer, found))
        return
    session.confirm(f"Remove image {reference} from the control node and every host?", yes=yes)
    gone = dict(session.client.delete(_path(reference)))
    session.printer.one(gone, images.view(session.now()))


def _digest_of(session: Session, file: Path, size: int) -> str:
    hashed = hashlib.sha256()
    with session.narrator.progressing(f"reading {file.name}", size) as advance:
        for chunk in _chunks(file, 0, advance):
            hashed.update(chunk)
    return f"sha256:{hashed.hexdigest()}"


def _send(session: Session, file: Path, taken: Document) -> Document:
    received, size = int(taken["received_bytes"]), int(taken["size_bytes"])
    if received:
        session.narrator.note(f"{received} of {size} bytes arrived before: going on from there")
    with session.narrator.progressing(f"sending {file.name}", size, received) as advance:
        sent = session.client.upload(
            f"{_path(taken['id'])}/content",
            _chunks(file, received, advance),
            size - received,
            offset=received,
        )
    return dict(sent)


def _chunks(file: Path, offset: int, advance: Callable[[int], None]) -> Iterator[bytes]:
    with file.open("rb") as opened:
        opened.seek(offset)
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk
            advance(len(chunk))


def follow_image(session: Session, taken: Document, deadline: Deadline, *, no_wait: bool) -> None:
    """Wait until an image rests, and its replicas with it, and print it."""
    with session.narrator.waiting(f"image {taken['name']} is {taken['state']}"):
        while not no_wait and not _rests(taken):
            if deadline.passed:
                raise Failure(
                    f"image {taken['name']} is {taken['state']} still",
                    exit_code=Exit.TIMED_OUT,
                    hint=f"it goes on; see: sandboxctl image show {taken['name']}",
                )
            milliseconds = max(1, round(deadline.within(WAIT_SECONDS) * 1000))
            before = taken["state"], len(_unfinished(taken))
            taken = dict(session.client.get(_path(taken["id"]), wait=f"{milliseconds}ms"))
            if (taken["state"], len(_unfinished(taken))) != before:
                session.narrator.happened(_told(taken), session.now())
    if taken["state"] == "REFUSED":
        raise Failure(
            f"image {taken['name']} is refused: {taken['reason']}",
            exit_code=Exit.FAILED,
            hint=_REMEDIES[taken["source_vm"] is not None],
            document=taken,
        )
    session.printer.one(taken, images.view(session.now()))


def _told(taken: Document) -> str:
    unfinished = _unfinished(taken)
    hosts = f", on its way to {', '.join(unfinished)}" if unfinished else ""
    return f"image {taken['name']} is {taken['state']}{hosts}"


def _rests(taken: Document) -> bool:
    busy = taken["state"] in ("FREEZING", "FETCHING", "CHECKING", "REMOVING")
    return not busy and not _unfinished(taken)


def _unfinished(taken: Document) -> list[str]:
    return [one["host_name"] for one in taken["replicas"] if one["state"] in _BUSY]


def _path(reference: str) -> str:
    return f"/v1/images/{segment(reference)}"
