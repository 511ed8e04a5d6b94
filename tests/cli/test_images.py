"""image on the command line: upload with what is shown of it, refusals, and the way to hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scheduler.control.ingestor import Ingestor
from scheduler.hosts.driver import HostDriver
from scheduler.model import HostResources
from tests.cli.daemon import FaultyDaemon, reset, sound
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl, on_terminal
from tests.hosts import images
from tests.waits import repeated


def nowhere(host: HostResources) -> HostDriver:
    raise AssertionError(host)


@asynccontextmanager
async def ingesting(fleet: Fleet) -> AsyncIterator[None]:
    """Check what arrives, as the daemon's loop does."""
    plane = fleet.plane
    ingestor = Ingestor(
        plane.store,
        plane.clock,
        drivers=nowhere,
        files=plane.shelf.files,
        changed=plane.shelf.catalogue.put,
        most_bytes=2**30,
        most_virtual_bytes=2**40,
    )

    async def work() -> None:
        for image_id in await ingestor.pending():
            await ingestor.ingest(image_id)
        plane.journal.poke()

    async with repeated(work):
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return images.sound(tmp_path / "golden.qcow2")


async def test_upload_show_list_prefetch_and_delete(
    fleet: Fleet, sandboxctl: Sandboxctl, file: Path
) -> None:
    async with ingesting(fleet):
        taken = await sandboxctl.run("image", "upload", str(file), "-o", "json")
        assert taken.code == 0, taken.err
        assert (taken.document["name"], taken.document["state"]) == ("golden.qcow2", "READY")
        again = await sandboxctl.run("image", "upload", str(file), "-o", "name")
        assert (again.code, again.out) == (0, "golden.qcow2\n")
        listed = await sandboxctl.run("image", "list")
        assert listed.rows[1][:6] == ["golden.qcow2", "READY", "qcow2", "1", "MiB", "16"]
        assert (await sandboxctl.run("image", "list", "--state", "refused", "-o", "name")).out == ""
        spread = await sandboxctl.run(
            "image", "prefetch", "golden.qcow2", "--host", "alpha", "--no-wait", "-o", "json"
        )
        assert [one["host_name"] for one in spread.document["replicas"]] == ["alpha"]
        shown = await sandboxctl.run("image", "show", "golden.qcow2")
        assert str(taken.document["digest"]) in shown.out
        assert ["alpha", "wanted", "yes", "-"] in shown.rows
        evicted = await sandboxctl.run("image", "evict", "golden.qcow2", "alpha", "-o", "json")
        assert evicted.document["replicas"][0]["state"] == "removing"
        late = await sandboxctl.run(
            "image", "prefetch", "golden.qcow2", "--select", "zone=two", "--timeout", "1s"
        )
        assert late.code == 124
        assert "it goes on" in late.err
        planned = await sandboxctl.run("image", "delete", "golden.qcow2", "--dry-run")
        assert "golden.qcow2" in planned.out
        unasked = await sandboxctl.run("image", "delete", "golden.qcow2")
        assert unasked.code == 2
        gone = await sandboxctl.run("image", "delete", "golden.qcow2", "-y", "-o", "json")
        assert gone.document["state"] == "REMOVING"


async def test_a_hostile_image_is_refused_with_the_reason(
    fleet: Fleet, sandboxctl: Sandboxctl, tmp_path: Path
) -> None:
    hostile = images.with_backing_file(tmp_path / "hostile")
    async with ingesting(fleet):
        ran = await sandboxctl.run("image", "upload", str(hostile), "--name", "hostile")
    assert ran.code == 1
    assert "depends on another file" in ran.err
    assert "qemu-img convert" in ran.err
    assert ran.out == ""


async def test_an_upload_goes_on_where_it_broke_off(
    fleet: Fleet, sandboxctl: Sandboxctl, file: Path
) -> None:
    body = images.content_of(file)

    async def first() -> AsyncIterator[bytes]:
        yield body[:1000]

    no_wait = ("image", "upload", str(file), "--no-wait", "-o", "json")
    files = fleet.plane.shelf.files
    begun = await asyncio.to_thread(_announce, sandboxctl, file)
    await files.receive(begun, first(), offset=0, size=len(body))
    ran = await sandboxctl.run(*no_wait)
    assert ran.code == 0, ran.err
    assert "1000 of" in ran.err
    assert ran.document["state"] == "CHECKING"
    assert await files.digest(begun) == ran.document["digest"]


def _announce(sandboxctl: Sandboxctl, file: Path) -> str:
    import hashlib

    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    body = (
        f'{{"name": "{file.name}", "digest": "sha256:{digest}", '
        f'"size_bytes": {file.stat().st_size}}}'
    )
    ran = sandboxctl("api", "POST", "/v1/images", "--data", body)
    assert ran.code == 0, ran.err
    return str(ran.document["id"])


async def test_a_terminal_is_shown_how_far_it_is(fleet: Fleet, file: Path) -> None:
    async with ingesting(fleet):
        socket = fleet.plane.store.config.sqlite_path
        assert socket is not None
        ran = await asyncio.to_thread(
            on_terminal, socket.parent / "admin.sock", "image", "upload", str(file)
        )
    assert ran.code == 0, ran.out
    assert "sending golden.qcow2" in ran.out
    assert "READY" in ran.out


def test_a_daemon_that_goes_away_amid_an_upload_is_told(
    daemon: FaultyDaemon, sandboxctl: Sandboxctl, file: Path
) -> None:
    taken = {"id": "IMG-1", "state": "RECEIVING", "received_bytes": 0, "name": "x"}
    size = file.stat().st_size
    daemon.on("POST", "/v1/images", sound(taken | {"size_bytes": size}, 202))
    daemon.on("PUT", "/v1/images/IMG-1/content", reset)
    ran = sandboxctl("image", "upload", str(file))
    assert ran.code == 7
    assert "broke" in ran.err


def test_a_file_that_is_not_there_is_a_fault_of_usage(sandboxctl: Sandboxctl) -> None:
    assert sandboxctl("image", "upload", "/nonexistent").code == 2
